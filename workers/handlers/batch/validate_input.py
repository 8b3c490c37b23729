"""Validation of the input of a batch: the whole file is read, and each row is valid or has a fault.

The size of parts and the treatment of invalid rows are decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from shared.batches import BadRow, BatchRequest
from shared.errors import InvalidRequest
from shared.jobs import Job
from shared.limits import Limits
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.request_validation import RequestValidator
from workers.handlers.batch.row_bitmap import RowBitmap

_MAX_BAD = 100  # bad rows that are listed before anything runs
_IDS_COMPARED = 5_000_000  # ids beyond are not compared with those before: 8 bytes each, and more
DUPLICATE = ("duplicate_id", "has an id that came before", "id")
_EVERY = 1000  # rows between two looks at the lease

See = Callable[[PartRow, int, bool], None]
"""Is shown each row, about how many bytes there are to work on, and whether it is good."""


def ignored(row: PartRow, size: int, good: bool) -> None:
    """Shown a row, does nothing."""


@dataclass(frozen=True, kw_only=True)
class InputReport:
    """What a file holds. `total` rows are to be worked on, of the `rows` of the file."""

    format: str
    rows: int
    total: int
    size: int  # bytes to work on
    bad_count: int
    bad: tuple[BadRow, ...]
    repeated: RowBitmap


def judge(
    reader: Reader,
    job: Job,
    body: BatchRequest,
    *,
    limits: Limits,
    done: RowBitmap,
    check: Callable[[], None],
    see: See = ignored,
) -> InputReport:
    """Read a whole file.

    Args:
        reader: Reads it.
        job: The batch.
        body: What is asked of it.
        limits: What a line that is a request may hold.
        done: Numbers of rows that are passed over; their ids count all the same.
        check: Raises where the work is to stop; called now and then.
        see: Is shown the rows that are not passed over.

    Raises:
        InvalidRequest: The file cannot be read, or holds no rows.
    """
    bad: list[BadRow] = []
    seen: set[bytes] = set()
    repeated = RowBitmap()
    bodies = None if body.rows else RequestValidator(body, limits)
    rows = total = size = bad_count = 0
    with reader.open(job, body) as file:
        for number, (row, row_bytes) in enumerate(reader.rows(file, body, skip=0)):
            if number % _EVERY == 0:
                check()
            rows += 1
            fault = row.reason()
            if fault is None and row.id is not None and number < _IDS_COMPARED:
                name = f"{row.object_key}\0{row.id}"
                digest = blake2b(name.encode(), digest_size=8).digest()
                if digest in seen:
                    repeated.add(number)
                    fault = row.refused(*DUPLICATE)
                seen.add(digest)
            if number in done:
                continue
            if fault is None and bodies is not None:
                fault = bodies.fault(row)
            total += 1
            size += row_bytes
            see(row, row_bytes, fault is None)
            if fault is not None:
                bad_count += 1
                if len(bad) < _MAX_BAD:
                    bad.append(fault)
        described = file.describe()
    if rows == 0:
        raise InvalidRequest("file: holds no rows; send one row at least")
    return InputReport(
        format=described,
        rows=rows,
        total=total,
        size=size,
        bad_count=bad_count,
        bad=tuple(bad),
        repeated=repeated,
    )
