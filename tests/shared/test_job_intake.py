"""The order of the four writes, and what is left where one of them fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared import object_keys
from shared.batches import BatchRequest, DryRunRequest, RowSource
from shared.classifier_requests import RebuildRequest
from shared.errors import BrokerUnavailable, StoreUnavailable
from shared.job_intake import JobIntake, queue_of
from shared.jobs import Job, State
from shared.messages import Submission, decode, encode
from shared.types import ClassifyRequest, Item, JobRequest, Priority
from tests.fakes import FakeDoorbell, FakeStore
from tests.prefixed_ledger import PrefixedLedger

BATCH = BatchRequest(model="tiny", source=RowSource(object="o"))
ASK = ClassifyRequest(model="tiny", items=(Item(text="a rose"),))
QUEUE = "cpu.standard.tiny"


class Recorder(FakeStore):
    """A store that keeps the order of its writes, and fails at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.fails_at = ""

    def put(self, name: str, *args: object, **kwargs: object) -> str:  # type: ignore[override]
        if self.fails_at and name.startswith(self.fails_at):
            raise StoreUnavailable("no answer")
        etag = super().put(name, *args, **kwargs)  # type: ignore[arg-type]
        self.steps.append(name)
        return etag


class Intake:
    """What acceptance writes to."""

    def __init__(self) -> None:
        self.store = Recorder()
        self.ledger = PrefixedLedger()
        self.told: list[str] = []
        self.intake = JobIntake(
            store=self.store,
            ledger=self.ledger,
            doorbell=FakeDoorbell(self.ring),
            result_retention_s=60,
            clock=lambda: 1_800_000_000.0,
        )

    def ring(self, queue: str) -> None:
        assert self.ledger.queues() == (queue,)
        self.store.steps.append(f"ring {queue}")

    def accept(self, request: JobRequest = ASK, job_id: str | None = None) -> Job:
        return self.intake.accept(
            request,
            account="acme",
            queue=QUEUE,
            request_id="req_1",
            dialect="native",
            job_id=job_id,
        )


@pytest.fixture
def intake() -> Intake:
    return Intake()


def test_the_request_is_written_first_then_the_marker_and_then_the_bell_rings(intake: Intake):
    job = intake.accept()

    request = object_keys.request("acme", job.id)
    assert intake.store.steps == [request, object_keys.open_marker(job.id), f"ring {QUEUE}"]
    assert decode(Submission, intake.store.get(request).data).job == job
    assert intake.ledger.record(job.id) == job
    assert (job.expires_at - job.created_at).total_seconds() == 60


def test_a_batch_is_listed_before_it_is_accepted(intake: Intake):
    job = intake.accept(BATCH)

    assert intake.store.steps[:3] == [
        object_keys.request("acme", job.id),
        object_keys.batch("acme", job.id),
        object_keys.open_marker(job.id),
    ]
    assert job.progress.total == 0


@pytest.mark.parametrize("step", ["jobs/", "batches/", "open/"])
def test_nothing_is_left_where_the_store_goes_away_before_the_marker(intake: Intake, step: str):
    intake.store.fails_at = step

    with pytest.raises(StoreUnavailable):
        intake.accept(BATCH)

    assert intake.store.objects == {}
    assert intake.ledger.queues() == ()


def test_a_job_is_accepted_while_the_ledger_is_away(intake: Intake):
    intake.ledger.away = True

    job = intake.accept()

    assert object_keys.open_marker(job.id) in intake.store.objects


def test_a_job_is_accepted_where_the_bell_does_not_ring(intake: Intake):
    def fail(_: str) -> None:
        raise BrokerUnavailable("no answer")

    intake.intake = replace(intake.intake, doorbell=FakeDoorbell(fail))

    job = intake.accept()

    assert intake.ledger.record(job.id) == job


def test_a_call_that_is_repeated_gets_the_first_job_and_completes_its_writes(intake: Intake):
    first = intake.accept()
    intake.store.delete(object_keys.open_marker(first.id))

    again = intake.accept(ClassifyRequest(model="tiny", items=()), job_id=first.id)

    assert again == first
    assert object_keys.open_marker(first.id) in intake.store.objects


def test_a_repeated_call_of_a_job_that_has_ended_starts_nothing(intake: Intake):
    first = intake.accept()
    ended = first.model_copy(update={"state": State.SUCCEEDED})
    intake.store.put(object_keys.job("acme", first.id), encode(ended))
    intake.store.steps.clear()

    assert intake.accept(job_id=first.id).state is State.SUCCEEDED
    assert intake.store.steps == []


@pytest.mark.parametrize(
    ("request_", "queue"),
    [
        (ASK, "gpu.fast.tiny"),
        (BATCH, "gpu.bulk.tiny"),
        (DryRunRequest(model="tiny", batch=BATCH), "gpu.standard.tiny"),
        (RebuildRequest(model="tiny", classifier_id="c"), "gpu.train.tiny"),
    ],
)
def test_the_queue_is_that_of_the_kind_or_of_the_priority(request_: JobRequest, queue: str):
    assert queue_of(request_, device="gpu", priority=Priority.FAST) == queue
