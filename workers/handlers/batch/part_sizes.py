"""The number of rows of a part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.batches import TRAIN, BatchRequest
from workers.handlers.batch.validate_input import InputReport

_MAX_ROWS = 500  # of a part: four objects for each thousand rows
_MAX_LESSONS = 32  # of a part whose lines are learnt one after the other
# Of a part's texts: about 10,000 tokens. Parts are what accounts take turns by, so they are small.
PART_BYTES = 64 * 1024


def rows_per_part(judged: InputReport, body: BatchRequest) -> int:
    """How many rows a part has, if they are as long as they are on average."""
    most = _MAX_LESSONS if body.endpoint == TRAIN else _MAX_ROWS
    return min(most, max(1, PART_BYTES * judged.total // max(judged.size, 1)))


def parts_of(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Where parts of rows of these bytes begin and end, as `_bounded` cuts them.

    >>> list(parts_of([1, 1, 1, 600_000, 1], 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    first = size = 0
    for place, row_bytes in enumerate(sizes):
        size += row_bytes
        if place - first == most - 1 or size >= PART_BYTES:
            yield first, place + 1
            first, size = place + 1, 0
    if first < len(sizes):
        yield first, len(sizes)
