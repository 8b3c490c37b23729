"""Every ended job is charged once, by its final record, before its marker is deleted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared import object_keys
from shared.errors import StoreUnavailable
from shared.jobs import Cancel, Job, advance
from shared.messages import CONTROL, decode
from shared.statements import Statements
from shared.types import ClassifierVersion, TrainRequest
from shared.usage import UsageRow
from tests.fakes import FakeDoorbell, FakeStore
from tests.workers.conftest import NOW, Bench, a_request
from tests.workers.handlers.test_train import creation
from workers.keeper.charge_posting import post_charges
from workers.keeper.job_recovery import adopt


@dataclass
class FailingStore(FakeStore):
    """Refuses the next access to an object whose name begins with `prefix`."""

    prefix: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def _check(self, name: str = "any") -> None:
        super()._check(name)
        if self.prefix and name.startswith(self.prefix):
            self.prefix = ""
            raise StoreUnavailable("the process is killed here")


def usage(bench: Bench, account: str = "acme") -> tuple[UsageRow, ...]:
    return Statements(store=bench.store).rows(account, first="0", last="9")


def run(bench: Bench, queue: str | None = None) -> None:
    bench.parts.run(bench.claim(*([queue] if queue else [])))


def test_an_ended_job_is_charged_what_its_record_says(bench: Bench):
    job = bench.submit(a_request("a red rose", "green"))
    run(bench)

    ended = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    (row,) = usage(bench)
    assert row.tokens == ended.usage.total_tokens > 0
    assert (row.requests, row.items, row.failed_items) == (1, 2, 0)
    assert (row.endpoint, row.model, row.classifier) == ("classify", "tiny", "")
    assert list(bench.store.list(object_keys.OPEN)) == []


def test_a_job_that_fails_is_counted_and_free(bench: Bench):
    bench.submit(a_request("word " * 60))
    run(bench)

    (row,) = usage(bench)
    assert (row.requests, row.items, row.failed_items, row.tokens) == (1, 0, 1, 0)


def test_training_is_charged_once_for_each_iteration_to_its_classifier(bench: Bench):
    body: TrainRequest = creation()
    bench.submit(body)
    run(bench)

    (row,) = usage(bench)
    assert row.classifier == body.classifier_id
    assert row.train_tokens == row.tokens > 0


def test_the_caller_pays_for_the_classifier_of_another_account(bench: Bench):
    body = creation()
    bench.submit(body, account="owner")
    run(bench)
    record, _ = bench.classifiers.records.load("owner", body.classifier_id)
    version = ClassifierVersion(
        account="owner",
        classifier_id=record.id,
        version=1,
        file=record.latest.file,
    )
    bench.submit(a_request("a red rose", questions=(), classifier=version), account="guest")
    run(bench)

    (row,) = usage(bench, "guest")
    assert (row.classifier, row.input_tokens) == (record.id, 3)
    assert [each.endpoint for each in usage(bench, "owner")] == ["train"]


@pytest.mark.parametrize("killed_at", ["charges/", "open/", "webhooks/"])
@pytest.mark.parametrize("posted", [True, False])
def test_a_worker_killed_at_the_end_of_a_job_charges_neither_twice_nor_never(
    bench: Bench, killed_at: str, posted: bool
):
    store = FailingStore()
    store.objects = bench.store.objects
    job = bench.submit(a_request("a red rose"))
    bench.finaliser = bench.parts.finaliser
    object.__setattr__(bench.parts.finaliser, "store", store)
    store.prefix = killed_at
    run(bench)
    if posted:
        post_charges(Statements(store=bench.store))
    bench.ledger.lose_everything()  # Redis is lost as well: the keeper finds the marker

    adopt(bench.store, bench.ledger, FakeDoorbell(lambda _: None), now=NOW)

    ended = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    assert sum(row.tokens for row in usage(bench)) == ended.usage.total_tokens > 0
    assert sum(row.requests for row in usage(bench)) == 1
    assert list(bench.store.list(object_keys.OPEN)) == []


def test_a_cancelled_job_is_free(bench: Bench):
    job = bench.submit(a_request("a red rose"))
    record = bench.ledger.record(job.id)
    assert record is not None

    bench.ledger.replace(record, advance(record, Cancel(), NOW))
    bench.ledger.abort_job(job.id)
    run(bench, CONTROL)

    (row,) = usage(bench)
    assert (row.items, row.failed_items, row.tokens) == (0, 1, 0)
