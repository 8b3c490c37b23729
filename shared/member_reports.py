"""Reports of live processes: messages that expire when their process dies."""

from __future__ import annotations

from pydantic import Field

from shared.types import Value


class MemberReport(Value):
    """What every living process says of itself.

    `clock_offset_s`: how far its machine's clock is ahead of the service's time.
    """

    clock_offset_s: float = 0.0


class WorkerReport(MemberReport):
    """What a living worker says of itself: its device, the queues it takes, the models it holds.

    `tokens_per_s`: how fast a model has been of late, by its name; those that did little are not
    among them. `revisions`: what the scores of each model depend on beside the request.
    """

    device: str
    queues: tuple[str, ...]
    models: tuple[str, ...]
    tokens_per_s: dict[str, float] = Field(default_factory=dict)
    revisions: dict[str, str] = Field(default_factory=dict)
