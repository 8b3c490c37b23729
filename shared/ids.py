"""Identifiers: how ids are created, and how references to classifiers are parsed."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import NamedTuple

from shared.errors import FieldError, InvalidRequest

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_JOB = re.compile(rf"job_[{_ALPHABET}]{{26}}")
_RUN = re.compile(rf"run_[{_ALPHABET}]{{26}}")
_FILE = re.compile(rf"file-[{_ALPHABET}]{{26}}")
_UPLOAD = re.compile(rf"upload_[{_ALPHABET}]{{26}}")
_DELIVERY = re.compile(rf"msg_[{_ALPHABET}]{{26}}")
_WEBHOOK = re.compile(rf"wh_[{_ALPHABET}]{{16}}")
_PART = re.compile(rf"part_[{_ALPHABET}]{{16}}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_MS = 2**50 - 1


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(digits)))


def _newest_first(ms: int) -> str:
    """A time as 10 characters, later times first; times before 1970 count as 1970."""
    return _base32(_MAX_MS - min(max(ms, 0), _MAX_MS), 10)


def job_id(now_ms: int, entropy: int) -> str:
    """A job id that sorts newest first, so that listing a prefix yields the latest jobs.

    Args:
        now_ms: Milliseconds since 1970.
        entropy: 80 random bits, from `random_bits`.

    >>> job_id(1_700_000_000_001, 0) < job_id(1_700_000_000_000, 0)
    True
    """
    return f"job_{_newest_first(now_ms)}{_base32(entropy, 16)}"


def file_id(now_ms: int, entropy: int) -> str:
    """A file id that sorts newest first, as job ids do."""
    return f"file-{_newest_first(now_ms)}{_base32(entropy, 16)}"


def is_file_id(text: str) -> bool:
    """Whether the text has the form of a file id; the file need not exist."""
    return _FILE.fullmatch(text) is not None


def upload_id(now_ms: int, entropy: int) -> str:
    """The id of a multipart upload; it sorts newest first."""
    return f"upload_{_newest_first(now_ms)}{_base32(entropy, 16)}"


def is_upload_id(text: str) -> bool:
    """Whether the text has the form of an upload id."""
    return _UPLOAD.fullmatch(text) is not None


def delivery_id(now_ms: int, entropy: int) -> str:
    """The id of a webhook delivery; it sorts newest first."""
    return f"msg_{_newest_first(now_ms)}{_base32(entropy, 16)}"


def is_delivery_id(text: str) -> bool:
    """Whether the text has the form of a delivery id."""
    return _DELIVERY.fullmatch(text) is not None


def event_id(now_ms: int, entropy: int) -> str:
    """The id of a webhook event; all webhooks of an account get the same id."""
    return f"evt_{_base32(_MAX_MS - now_ms, 10)}{_base32(entropy, 16)}"


def webhook_id() -> str:
    """A fresh id for a webhook."""
    return f"wh_{token()}"


def is_webhook_id(text: str) -> bool:
    """Whether the text has the form of a webhook id."""
    return _WEBHOOK.fullmatch(text) is not None


def part_id() -> str:
    """A fresh id for an upload part."""
    return f"part_{token()}"


def is_part_id(text: str) -> bool:
    """Whether the text has the form of an upload part id."""
    return _PART.fullmatch(text) is not None


def batch_id_of(job: str) -> str:
    """The id of a batch job in the API, which follows OpenAI's.

    >>> batch_id_of("job_0123")
    'batch_0123'
    """
    return job.replace("job_", "batch_", 1)


def job_id_of(batch: str) -> str:
    """The job id of a batch id; empty, an unknown id, if the text has another form."""
    return batch.replace("batch_", "job_", 1) if batch.startswith("batch_") else ""


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id."""
    return _JOB.fullmatch(text) is not None


def is_run_id(text: str) -> bool:
    """Whether the text has the form of the id of a retraining run."""
    return _RUN.fullmatch(text) is not None


def random_bits(bits: int = 80) -> int:
    """Random bits that cannot be guessed."""
    return secrets.randbits(bits)


def request_id() -> str:
    """A fresh id for one HTTP request."""
    return f"req_{_base32(secrets.randbits(80), 16)}"


def classifier_id() -> str:
    """A fresh classifier id: a UUID, the form that clients expect."""
    return str(uuid.uuid4())


def classifier_id_of(cause: str) -> str:
    """The id of the classifier that a cause creates; the same for each attempt.

    >>> classifier_id_of("job_0.1") == classifier_id_of("job_0.1")
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, cause))


def is_classifier_id(text: str) -> bool:
    """Whether the text has the form of a classifier id."""
    return _UUID.fullmatch(text) is not None


def token() -> str:
    """A fresh opaque token, for leases, reply names and process names."""
    return _base32(secrets.randbits(80), 16)


class ClassifierRef(NamedTuple):
    """A reference to a classifier by id or name: a version number, an alias, or the latest."""

    name: str
    version: int | None
    alias: str | None


LATEST = "latest"
"""The reserved alias of the version with the highest number."""

_REF = re.compile(
    r"(?P<name>[^@\s]{1,128})"
    r"(?:@(?:v(?P<version>[1-9]\d{0,8})|(?P<alias>(?!v\d)[a-z][a-z0-9-]{0,63})))?"
)


def parse_ref(text: str, *, field: str = "classifier_id") -> ClassifierRef:
    """Parse ``uuid``, ``name``, ``name@v3``, ``name@champion`` or ``name@latest``.

    ``latest`` is reserved: it means the same as a reference without an alias.

    Raises:
        InvalidRequest: The text has none of these forms.

    >>> parse_ref("spam@v3")
    ClassifierRef(name='spam', version=3, alias=None)
    >>> parse_ref("spam@latest")
    ClassifierRef(name='spam', version=None, alias=None)
    """
    match = _REF.fullmatch(text)
    if match is None:
        message = "must be an id, a name, name@v3 or name@alias"
        raise InvalidRequest(
            f"{field}: {message}", fields=(FieldError(field=field, message=message),)
        )
    version = match["version"]
    name = match["name"]
    if is_classifier_id(name.lower()):
        name = name.lower()
    alias = None if match["alias"] == LATEST else match["alias"]
    return ClassifierRef(name, int(version) if version else None, alias)
