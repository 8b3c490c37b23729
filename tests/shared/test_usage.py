"""The model under which a request counts: the same for a call and for a job."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.batches import BatchRequest, ColumnMapping, RowSource
from shared.job_intake import JobIntake, queue_of
from shared.jobs import Job, Progress, State, Succeed, advance
from shared.messages import model_of
from shared.ports import Ledger
from shared.types import ClassifyRequest, Item, JobKind, JobRequest, TrainRequest, Usage
from shared.usage import charge_of, usage_model
from tests.fakes import FakeDoorbell, FakeStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = RowSource(object="o")
PLAIN = ClassifyRequest(model="tiny", items=(Item(text="a rose"),))
AUTO = PLAIN.model_copy(update={"multilingual_model": "wide"})
HYBRID = PLAIN.model_copy(update={"engine": "hybrid", "nli_model": "nli"})


def charged_model(job: Job) -> str:
    ended = job.model_copy(update={"state": State.FINALISING})
    (row,) = charge_of(advance(ended, Succeed(progress=Progress(total=1), usage=Usage()), NOW)).rows
    return row.model


def batch(ask: ClassifyRequest) -> BatchRequest:
    rows = ColumnMapping(ask=ask.model_copy(update={"items": ()}))
    return BatchRequest(model=ask.queue_model, source=SOURCE, rows=rows)


@pytest.mark.parametrize(
    ("request_", "queue", "model"),
    [
        (PLAIN, "tiny", "tiny"),
        (AUTO, "wide", "auto"),
        (HYBRID, "nli", "tiny"),
        (TrainRequest(model="tiny", multilingual_model="wide", classifier_id="c"), "wide", "auto"),
        (batch(PLAIN), "tiny", "tiny"),
        (batch(AUTO), "wide", "auto"),
        (batch(HYBRID), "nli", "tiny"),
        (BatchRequest(model="tiny", multilingual_model="wide", source=SOURCE), "tiny", "auto"),
    ],
)
def test_a_job_counts_under_the_model_of_its_call(
    request_: JobRequest, queue: str, model: str, ledger: Ledger
):
    intake = JobIntake(
        store=FakeStore(),
        ledger=ledger,
        doorbell=FakeDoorbell(lambda _: None),
        result_retention_s=60,
        clock=NOW.timestamp,
    )

    job = intake.accept(
        request_,
        account="acme",
        queue=queue_of(request_, device="cpu"),
        request_id="req_1",
        dialect="native",
    )

    assert model_of(job.queue) == queue
    assert charged_model(job) == usage_model(request_) == model


def test_a_job_of_a_version_without_the_field_counts_under_the_model_of_its_queue():
    job = Job(
        id="job_1",
        account="acme",
        kind=JobKind.CLASSIFY,
        queue="cpu.standard.wide",
        created_at=NOW,
        expires_at=NOW,
        progress=Progress(total=1),
    )

    assert charged_model(job) == "wide"
