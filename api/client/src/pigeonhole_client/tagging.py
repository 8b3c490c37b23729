"""What `batches.tag` tells: progress while it runs, and a report at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from pigeonhole_client.errors import ConfigurationError
from pigeonhole_client.types import Record

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_COMPRESSIONS = {".gz", ".zst"}
_MAX_EXAMPLES = 3
_PIPE_EVERY_S = 10.0


class TagProgress(Record, frozen=True, kw_only=True):
    """How far a run is: bytes while it uploads, rows afterwards. `seconds_left`: None: unknown."""

    phase: Literal["uploading", "running", "downloading", "waiting"]
    done: int = 0
    total: int = 0
    failed: int = 0
    rate_per_s: float | None = None
    seconds_left: float | None = None
    note: str = ""


OnProgress = Callable[[TagProgress], None]


class FailureGroup(Record, frozen=True, kw_only=True):
    """Rows that failed for one reason: how many, the reason in words, some of their ids; `line 5`
    stands for a row without one.
    """

    code: str
    count: int
    message: str
    ids: list[str]


class TagResult(Record, frozen=True, kw_only=True):
    """How a run ended.

    `total` is `completed` plus `failed`. `output` and `errors` are the paths of the files that were
    written; None where no row came out, or none failed. `status` is that of the batch: `completed`,
    or `expired` or `cancelled`, with the rows that never began among those that failed.
    """

    batch_id: str
    status: str
    total: int
    completed: int
    failed: int
    failures: list[FailureGroup]
    output: str | None
    errors: str | None
    total_tokens: int
    resumed: bool

    def summary(self) -> str:
        """The result in a few lines for people."""
        lines = [f"{self.completed:,} of {self.total:,} rows tagged, {self.failed:,} failed"]
        if self.status != "completed":
            lines[0] += f"; the batch is {self.status}"
        for group in self.failures:
            ids = ", ".join(group.ids) + (", …" if group.count > len(group.ids) else "")
            lines.append(f"  {group.count:,} {group.code}: {group.message} (rows {ids})")
        lines += [f"{what}: {path}" for what, path in self._written()]
        return "\n".join(lines)

    def _written(self) -> Iterable[tuple[str, Path]]:
        if self.output is not None:
            yield "output", _near(self.output)
        if self.errors is not None:
            yield "errors", _near(self.errors)


def _near(path: str) -> Path:
    """A path as it is seen from the working directory, if it is below it."""
    found, here = Path(path), Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def output_path(source: Path, output: str | None) -> Path:
    """Where the rows go; beside the input if nothing is said.

    >>> print(output_path(Path("rows.csv.gz"), None))
    rows.tagged.csv
    """
    if output is not None:
        return Path(output)
    plain = source.with_suffix("") if source.suffix.lower() in _COMPRESSIONS else source
    suffix = plain.suffix if plain.suffix.lower() in FORMATS else ".csv"
    return plain.with_name(f"{plain.stem}.tagged{suffix}")


def errors_path(output: Path) -> Path:
    """Where the failed rows go: lines of JSON beside the output."""
    return output.with_name(f"{output.stem}.errors.jsonl")


def format_of(output: Path) -> str:
    """The format that the name of an output says.

    Raises:
        ConfigurationError: It says none.
    """
    found = FORMATS.get(output.suffix.lower())
    if found is None:
        raise ConfigurationError(
            f"{output} names no format; end it with {', '.join(FORMATS)}, or pass output_format"
        )
    return found


def failures(path: Path) -> list[FailureGroup]:
    """The failed rows of an error file by their reason, most frequent first."""
    groups: dict[str, tuple[int, str, list[str]]] = {}
    with path.open("rb") as lines:
        for line in lines:
            row: dict[str, Any] = msgspec.json.decode(line)
            error = row.get("error") or {}
            code = str(error.get("code") or "unknown")
            count, message, ids = groups.get(code, (0, str(error.get("message") or ""), []))
            if len(ids) < _MAX_EXAMPLES:
                row_id = row.get("id")  # none where the row could not be read, or its cell is empty
                ids.append(f"line {row.get('line', '?')}" if row_id is None else str(row_id))
            groups[code] = (count + 1, message, ids)
    ranked = sorted(groups.items(), key=lambda item: -item[1][0])
    return [
        FailureGroup(code=code, count=count, message=message, ids=ids)
        for code, (count, message, ids) in ranked
    ]


class ProgressLine:
    """Writes progress to a terminal as one line, to a pipe as a line every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._width = 0
        self._phase = ""
        self._wrote_at = 0.0

    def __call__(self, progress: TagProgress) -> None:
        """Write it."""
        now = time.monotonic()
        text = line(progress)
        if self._live:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        elif progress.phase != self._phase or now - self._wrote_at >= _PIPE_EVERY_S:
            self._wrote_at = now
            self._stream.write(text + "\n")
        self._phase = progress.phase
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._live and self._width:
            self._stream.write("\n")
            self._stream.flush()


def line(progress: TagProgress) -> str:
    """Progress in one line.

    >>> line(TagProgress(phase="running", done=5000, total=20000, failed=2, rate_per_s=812.4,
    ...                  seconds_left=18.5))
    'running   5,000/20,000 rows (25 %)  812 rows/s  18 s left  2 failed'
    """
    words = [f"{progress.phase:11}".rstrip().ljust(9)]
    if progress.total:
        share = f"({100 * progress.done // progress.total} %)"
        if progress.phase == "uploading":
            words[0] += f" {progress.done / 1e6:.1f}/{progress.total / 1e6:.1f} MB {share}"
        else:
            words[0] += f" {progress.done:,}/{progress.total:,} rows {share}"
    if progress.rate_per_s is not None:
        words.append(
            f"{progress.rate_per_s / 1e6:.1f} MB/s"
            if progress.phase == "uploading"
            else f"{progress.rate_per_s:,.0f} rows/s"
        )
    if progress.seconds_left is not None:
        words.append(f"{duration(progress.seconds_left)} left")
    if progress.phase == "running":
        words.append(f"{progress.failed:,} failed")
    if progress.note:
        words.append(progress.note)
    return "  ".join(words)


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> duration(18.5), duration(247), duration(9000)
    ('18 s', '4 min 7 s', '2 h 30 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
