"""Jobs of accounts with a balance: refused before work, stopped midway, done after a grant."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InsufficientBalance
from shared.jobs import Job, State
from shared.statements import Grant
from tests.workers.conftest import Bench, a_request
from tests.workers.handlers.test_batch import (
    ME,
    a_batch,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_batch_retry import retry

PART_TOKENS = 5 * 3 + 2  # 5 rows of 3 tokens, and the labels


@pytest.fixture(autouse=True)
def small_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
    submit = bench.submit
    monkeypatch.setattr(bench, "submit", lambda body, **how: submit(body, metered=True, **how))


def grant(bench: Bench, tokens: int) -> None:
    bench.statements.grant(ME, Grant(id=f"grant_{tokens}", tokens=tokens, at=0))
    bench.balance._known.clear()


def rows(count: int) -> bytes:
    return jsonl(*({"id": str(n), "text": "a red rose"} for n in range(count)))


def charged(bench: Bench) -> int:
    return bench.statements.balance(ME).charged


def errors_of(bench: Bench, job: Job) -> list[dict[str, Any]]:
    return lines(bench, result(bench, job).error_file)


def test_a_job_of_an_account_without_tokens_fails_before_any_work(bench: Bench):
    job = bench.submit(a_request("a red rose"))
    run_all(bench)

    assert ended(bench, job).state is State.FAILED
    error = ended(bench, job).error
    assert error is not None
    assert error.code == InsufficientBalance.code
    assert (bench.encoder.ran, charged(bench)) == (0, 0)


def test_a_batch_that_is_estimated_above_the_balance_fails_before_any_row(bench: Bench):
    grant(bench, 4 * PART_TOKENS - 1)
    job = a_batch(bench, rows(20))
    run_all(bench)

    error = ended(bench, job).error
    assert error is not None
    assert (error.code, ended(bench, job).state) == (InsufficientBalance.code, State.FAILED)
    assert f"needs about {4 * PART_TOKENS}" in error.detail
    assert bench.encoder.ran == 0


def test_a_batch_within_the_balance_is_charged_to_the_token(bench: Bench):
    grant(bench, 4 * PART_TOKENS)
    job = a_batch(bench, rows(20))
    run_all(bench)

    assert ended(bench, job).state is State.SUCCEEDED
    assert charged(bench) == 4 * PART_TOKENS == ended(bench, job).usage.total_tokens
    assert bench.running.jobs == {}


def test_a_batch_whose_balance_runs_out_keeps_what_is_finished_and_a_retry_does_the_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.handlers.batch.estimate.Forecast.tokens", lambda *_: 1)
    grant(bench, 2 * PART_TOKENS - 1)
    job = a_batch(bench, rows(20))
    run_all(bench)

    done = ended(bench, job)
    assert (done.progress.completed, done.progress.failed) == (10, 10)
    left = errors_of(bench, job)
    assert {line["error"]["code"] for line in left} == {"insufficient_balance"}
    assert {line["error"]["retryable"] for line in left} == {True}
    assert charged(bench) == done.usage.total_tokens == 2 * PART_TOKENS

    grant(bench, 1000)
    again = retry(bench, job, "retryable")
    run_all(bench)

    assert ended(bench, again).progress.completed == 10
    assert charged(bench) == 4 * PART_TOKENS
    ids = [
        line["id"]
        for each in (job, again)
        for line in lines(bench, result(bench, each).output_file)
    ]
    assert sorted(map(int, ids)) == list(range(20))


def test_two_batches_at_once_share_one_balance(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.estimate.Forecast.tokens", lambda *_: 1)
    grant(bench, 3 * PART_TOKENS)
    jobs = [a_batch(bench, rows(20)) for _ in range(2)]
    run_all(bench)

    completed = sum(ended(bench, job).progress.completed for job in jobs)
    assert 15 <= completed <= 25
    assert charged(bench) == sum(ended(bench, job).usage.total_tokens for job in jobs)


def test_a_failure_of_the_balance_names_the_remedy(bench: Bench):
    with pytest.raises(InsufficientBalance, match="ask the operator for a grant"):
        bench.balance.check(bench.submit(a_request()))
