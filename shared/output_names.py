"""Names of the output files of a batch: a template with placeholders. Pure.

    {input_name}/{date}_{kind}.{ext}   tickets/2026-01-01_output.parquet

The name is deterministic: a batch whose end runs again writes the same files.
"""

from __future__ import annotations

import re
from typing import Literal

FileKind = Literal["output", "errors"]
FILE_KINDS: tuple[FileKind, ...] = ("output", "errors")
DEFAULT = "{batch_id}_{kind}.{ext}"
PLACEHOLDERS = ("batch_id", "input_name", "date", "kind", "ext")
MAX_CHARS = 256  # of a template
MAX_NAME_BYTES = 512
_MAX_INPUT_NAME_BYTES = 200

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_IN_A_NAME = re.compile(rf"{_CONTROL.pattern}|[/\\{{}}]")
_COMPRESSED = (".gz", ".zst")
_ENDING = re.compile(r"(?<=[^/])\.(\{ext\}|[A-Za-z0-9]{1,8})$")


def fault_of(template: str) -> str | None:
    """Why a template cannot be one, as a sentence about it; None where it can.

    >>> fault_of("{name}.csv")
    'unknown placeholder {name}; supported are {batch_id}, {input_name}, {date}, {kind}, {ext}'
    """
    if not 0 < len(template) <= MAX_CHARS:
        return f"must have 1 to {MAX_CHARS} characters"
    if _CONTROL.search(template):
        return "must not hold control characters"
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            return f"unknown placeholder {{{name}}}; supported are {known}"
    if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        return f"unmatched brace; supported placeholders are {known}"
    if not {"", ".", ".."}.isdisjoint(template.split("/")):
        return "must not have empty, '.' or '..' segments"
    return None


def rendered(
    template: str, *, batch_id: str, input_name: str, date: str, kind: FileKind, ext: str
) -> str:
    """The name that a template gives, which may have several segments.

    Args:
        template: without a fault.
        batch_id: as clients know it.
        input_name: as `input_name` gives it.
        date: of the batch's creation, in UTC, as `2026-01-01`.
        kind: which of the two files.
        ext: `jsonl`, `csv` or `parquet`.
    """
    values = {
        "batch_id": batch_id,
        "input_name": input_name,
        "date": date,
        "kind": kind,
        "ext": ext,
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def input_name(*, url: str, filename: str) -> str:
    """What the input is called, without its endings, as one segment of a name that is never empty.

    Args:
        url: of what is read in a bucket; of a prefix the last segment counts.
        filename: of a file, where there is no `url`.

    >>> input_name(url="", filename="Tickets 2026.csv.gz")
    'Tickets 2026'
    >>> input_name(url="s3://lake/in/dt=2026-01-01/", filename="")
    'dt=2026-01-01'
    """
    name = url.rstrip("/").rpartition("/")[2] if url else filename
    if not url.endswith("/"):
        for ending in _COMPRESSED:
            name = name.removesuffix(ending)
        stem, dot, _ = name.rpartition(".")
        name = stem if dot else name
    name = _NOT_IN_A_NAME.sub("_", name).lstrip(".")
    return name.encode()[:_MAX_INPUT_NAME_BYTES].decode(errors="ignore") or "input"


def for_retry(template: str) -> str:
    """The template of a retry, whose files do not take the place of those of the first batch.

    >>> for_retry("{date}/{kind}.{ext}"), for_retry("{kind}"), for_retry(DEFAULT)
    ('{date}/{kind}_{batch_id}.{ext}', '{kind}_{batch_id}', '{batch_id}_{kind}.{ext}')
    """
    if "{batch_id}" in template:
        return template
    ending = _ENDING.search(template)
    end = len(template) if ending is None else ending.start()
    return f"{template[:end]}_{{batch_id}}{template[end:]}"
