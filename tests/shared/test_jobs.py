from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IllegalTransition
from shared.jobs import (
    TERMINAL,
    TRANSITIONS,
    Cancel,
    Event,
    Expire,
    Fail,
    Finalise,
    Job,
    Lapse,
    Progress,
    Settle,
    Start,
    State,
    Succeed,
    advance,
)
from shared.types import Failure, JobKind, Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS: list[Event] = [
    Start(),
    Finalise(),
    Succeed(progress=Progress(total=3, completed=3), usage=Usage(input_tokens=5)),
    Fail(error=Failure(code="INTERNAL_ERROR", detail="broken")),
    Cancel(),
    Lapse(),
    Settle(),
    Expire(),
]


def a_job(**changes: object) -> Job:
    return Job(
        id="job_1",
        account="acme",
        kind=JobKind.CLASSIFY,
        queue="cpu.standard",
        created_at=NOW,
        expires_at=NOW + timedelta(days=7),
        progress=Progress(total=3),
    ).model_copy(update=changes)


def test_a_job_that_goes_well_is_queued_running_finalising_and_succeeded():
    job = a_job()

    for event in (Start(attempt=1), Finalise(), EVENTS[2]):
        job = advance(job, event, NOW)

    assert job.state is State.SUCCEEDED
    assert job.usage.total_tokens == 5
    assert job.finished_at == NOW


def test_an_event_of_an_older_attempt_is_refused():
    job = advance(a_job(), Start(attempt=2), NOW)

    with pytest.raises(IllegalTransition, match="older"):
        advance(job, Start(attempt=1), NOW)


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_nothing_moves_a_job_that_has_ended(state: State, event: Event):
    with pytest.raises(IllegalTransition):
        advance(a_job(state=state), event, NOW)


def test_a_cancelled_job_counts_what_was_not_done_as_failed():
    job = advance(a_job(state=State.RUNNING), Cancel(), NOW)

    settled = advance(job, Settle(), NOW)

    assert settled.state is State.CANCELLED
    assert settled.progress == Progress(total=3, completed=0, failed=3)


def test_when_an_end_began_is_remembered():
    later = NOW + timedelta(seconds=5)

    cancelling = advance(advance(a_job(), Cancel(), NOW), Cancel(), later)
    finalising = advance(advance(a_job(), Finalise(), NOW), Finalise(attempt=2), later)
    expiring = advance(a_job(state=State.RUNNING), Lapse(), NOW)

    assert (cancelling.cancelling_at, cancelling.finalising_at) == (NOW, None)
    assert advance(cancelling, Settle(), later).cancelling_at == NOW
    assert (finalising.cancelling_at, finalising.finalising_at) == (None, NOW)
    assert (expiring.state, expiring.finalising_at) == (State.EXPIRING, NOW)
    assert advance(expiring, Expire(), later).finalising_at == NOW


def test_a_record_of_before_is_read():
    new = ("cancelling_at", "finalising_at", "deadline")
    stored = a_job().model_dump(mode="json", exclude=set(new))

    assert Job.model_validate(stored) == a_job()


@given(st.lists(st.sampled_from(EVENTS), max_size=8))
def test_whatever_happens_total_is_completed_plus_failed_at_the_end(events: list[Event]):
    job = a_job()

    for event in events:
        try:
            job = advance(job, event, NOW)
        except IllegalTransition:
            continue

    if job.state.terminal:
        assert job.progress.total == job.progress.completed + job.progress.failed
        assert job.finished_at == NOW
    else:
        assert job.finished_at is None


def test_the_job_given_is_not_changed():
    job = a_job()
    advance(job, Start(), NOW)

    assert job == a_job()


def test_every_state_but_the_first_can_be_reached():
    assert set(TRANSITIONS.values()) == set(State) - {State.QUEUED}
