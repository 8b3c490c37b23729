"""Reports of live processes: messages that expire when their process dies."""

from __future__ import annotations

from pydantic import Field

from shared.types import Value

PROBE_ACCOUNT = "readiness"
"""The account of calls that only show whether the service works."""


class MemberReport(Value):
    """What every living process says of itself.

    `clock_offset_s`: how far its machine's clock is ahead of the service's time.
    """

    clock_offset_s: float = 0.0


class WorkerReport(MemberReport):
    """What a living worker says of itself: its device, the queues it takes, the models it holds.

    `tokens_per_s`: how fast a model has been of late, by its name; those that did little are not
    among them. `revisions`: what the scores of each model depend on beside the request. `cold` and
    `loading`: models whose weights are not in memory, or are being read into it; `failed`: those of
    them that could not be read the last time; `load_s`: how long reading took before.
    `last_used`: in seconds since 1970, of those used at all.
    """

    device: str
    queues: tuple[str, ...]
    models: tuple[str, ...]
    tokens_per_s: dict[str, float] = Field(default_factory=dict)
    revisions: dict[str, str] = Field(default_factory=dict)
    cold: tuple[str, ...] = ()
    loading: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    load_s: dict[str, float] = Field(default_factory=dict)
    last_used: dict[str, float] = Field(default_factory=dict)
