"""Schedules and live checks on the in-memory ports of a bench."""

from __future__ import annotations

from collections.abc import Callable

from shared.classifier_store import ClassifierStore
from shared.feedback_store import FeedbackStore
from shared.job_intake import JobIntake
from shared.retraining_store import RetrainingStore
from shared.webhook_store import WebhookStore
from tests.fakes import FakeDoorbell
from tests.workers.conftest import NOW, Bench
from workers.keeper.auto_rollback import LiveChecks
from workers.keeper.schedules import Schedules


def schedules_of(
    bench: Bench, rung: list[str], *, clock: Callable[[], float] = lambda: 0.0
) -> Schedules:
    return Schedules(
        retrainings=RetrainingStore(store=bench.store),
        records=ClassifierStore(store=bench.store),
        intake=JobIntake(
            store=bench.store,
            ledger=bench.ledger,
            doorbell=FakeDoorbell(rung.append),
            result_retention_s=7 * 86400,
            clock=clock,
        ),
        ledger=bench.ledger,
        deadline_s=3600.0,
    )


def live_checks_of(bench: Bench) -> LiveChecks:
    return LiveChecks(
        retrainings=RetrainingStore(store=bench.store),
        records=ClassifierStore(store=bench.store),
        feedback=FeedbackStore(store=bench.store),
        webhooks=WebhookStore(store=bench.store),
        clock=NOW.timestamp,
    )
