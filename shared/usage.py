"""Usage records: what accounts have used, by hour, kind of work, model, key and classifier. No I/O.

A charge is what one job, or the synchronous calls of one process in some seconds, have used. It is
added to the account's statement once, by its id (`shared.statements`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Self

from shared.batches import BatchRequest
from shared.jobs import Job
from shared.messages import model_of
from shared.model_catalogue import AUTO
from shared.types import JobRequest, Usage, Value

FREE_TOKENS = "free"
"""Id of the grant that an account gets once, of the free tokens of its tier."""


class UsageCounts(Value):
    """Amounts of work. The four token counts do not overlap; their sum is charged.

    Attributes:
        requests: Synchronous calls and jobs; a batch is one.
        items: Items with a result.
        failed_items: Items without one, which are free.
        input_tokens: Of texts.
        label_tokens: Of labels and descriptions.
        visual_tokens: Of images and of the pages of documents.
        train_tokens: Of examples that were learnt, times their iterations.
        cached: Of the items, those from the result cache, which are free.
    """

    requests: int = 0
    items: int = 0
    failed_items: int = 0
    input_tokens: int = 0
    label_tokens: int = 0
    visual_tokens: int = 0
    train_tokens: int = 0
    cached: int = 0

    @property
    def tokens(self) -> int:
        """Charged tokens."""
        return self.input_tokens + self.label_tokens + self.visual_tokens + self.train_tokens

    def plus(self, other: UsageCounts) -> Self:
        """These counts with those of another, of whatever."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        return self.model_copy(update=sums)


COUNTS = tuple(UsageCounts.model_fields)
"""Names of the counts."""


class UsageRow(UsageCounts):
    """The usage of one hour in UTC (`2026-01-31T09`), by all that a report can group by.

    `endpoint` is the kind of work: `classify`, `train`, `batch`, …. `model` is that of
    `usage_model`. An empty `classifier`: none, or several, as in a batch of requests.
    """

    hour: str
    endpoint: str
    model: str
    key: str = ""
    classifier: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        """What distinguishes rows; equal ones are added up."""
        return self.hour, self.endpoint, self.model, self.key, self.classifier


class Charge(Value):
    """Usage to be added to the statement of an account once; `id` is that of the job."""

    id: str
    rows: tuple[UsageRow, ...]


def hour_of(at: datetime | float) -> str:
    """The hour of a time, or of seconds since 1970, in UTC.

    >>> hour_of(datetime(2026, 1, 31, 9, 59, tzinfo=UTC)), hour_of(3600.0)
    ('2026-01-31T09', '1970-01-01T01')
    """
    seconds = at if isinstance(at, float | int) else at.timestamp()
    return _hour(int(seconds // 3600))


@lru_cache(maxsize=64)
def _hour(number: int) -> str:
    return f"{datetime.fromtimestamp(3600 * number, UTC):%Y-%m-%dT%H}"


def counts_of(usage: Usage, *, completed: int, failed: int, cached: int = 0) -> dict[str, int]:
    """The counts of one request."""
    return {
        "requests": 1,
        "items": completed,
        "failed_items": failed,
        "input_tokens": usage.input_tokens - usage.visual_tokens,
        "label_tokens": usage.label_tokens,
        "visual_tokens": usage.visual_tokens,
        "train_tokens": usage.train_tokens,
        "cached": cached,
    }


def usage_model(request: JobRequest) -> str:
    """The model under which a request counts, as a call or as a job.

    One request counts once: that of `auto` under `auto`, whichever models answer, and that of the
    engine `hybrid` under the model that embeds. A batch of plain rows counts as its rows.
    """
    if isinstance(request, BatchRequest) and request.rows is not None:
        return usage_model(request.rows.ask)
    return request.model if request.multilingual_model is None else AUTO


def charge_of(job: Job) -> Charge:
    """The charge of an ended job; it depends on its final record alone."""
    assert job.finished_at is not None
    row = UsageRow(
        hour=hour_of(job.finished_at),
        endpoint=job.kind,
        model=job.model or model_of(job.queue),
        key=job.key_id,
        classifier=job.classifier,
        **counts_of(job.usage, completed=job.progress.completed, failed=job.progress.failed),
    )
    return Charge(id=job.id, rows=(row,))


def added_up(rows: Iterable[UsageRow]) -> tuple[UsageRow, ...]:
    """The rows with equal ones added up, in order of their places.

    >>> row = UsageRow(hour="2026-01-31T09", endpoint="train", model="m", items=2)
    >>> [each.items for each in added_up([row, row])]
    [4]
    """
    sums: dict[tuple[str, ...], UsageRow] = {}
    for row in rows:
        known = sums.get(row.place)
        sums[row.place] = row if known is None else known.plus(row)
    return tuple(sums[place] for place in sorted(sums))
