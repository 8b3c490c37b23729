"""The report of a live worker: its queues, its models, and which of these are in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared import service_clock
from shared.member_reports import WorkerReport
from workers.embedding.loaded_model import LoadedModel
from workers.microbatching.throughput import Throughput


def report_of(
    device: str, queues: Sequence[str], models: Mapping[str, LoadedModel], pace: Throughput
) -> WorkerReport:
    """What this worker says of itself now."""
    idle = {name: model.idle for name, model in models.items() if model.idle is not None}
    used = {name: model.use.clock_at for name, model in models.items()}
    return WorkerReport(
        device=device,
        queues=tuple(queues),
        models=tuple(models),
        tokens_per_s=pace.tokens_per_s(),
        revisions={name: model.scoring_revision for name, model in models.items()},
        clock_offset_s=service_clock.CLOCK.offset_s(),
        cold=tuple(name for name, each in idle.items() if each.state == "cold"),
        loading=tuple(name for name, each in idle.items() if each.state == "loading"),
        failed=tuple(name for name, each in idle.items() if each.failure),
        load_s={name: round(each.load_s, 3) for name, each in idle.items()},
        last_used={name: at for name, at in used.items() if at is not None},
    )
