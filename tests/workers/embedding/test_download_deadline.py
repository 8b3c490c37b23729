from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

import pytest

from shared.errors import FetchFailed
from workers.embedding.download_deadline import DownloadDeadline
from workers.futures import done, failed

BOUND_S = 60.0


def patience(left_s: float = 1_000.0) -> DownloadDeadline:
    return DownloadDeadline(deadline=left_s, clock=lambda: 0.0)


def until_it_comes(reading: Future[str]) -> Callable[[Callable[[], object]], Future[str]]:
    return lambda _: reading


def timers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "patience"}


def test_it_ends_by_itself_and_says_what_to_do():
    short, reading = patience(left_s=0.25), Future[str]()
    told = short.hold(until_it_comes(reading))

    short.start()

    with pytest.raises(FetchFailed, match=r"within the 0\.2 s .* send fewer of one host"):
        told.result(BOUND_S)
    with pytest.raises(CancelledError):
        reading.result(BOUND_S)


def test_what_came_before_it_ends_is_waited_for():
    call, reading = patience(), Future[str]()

    def begin(came: Callable[[], object]) -> Future[str]:
        came()
        return reading

    told = call.hold(begin)
    call.end()

    assert not told.done()
    reading.set_result("seen")
    assert told.result(0) == "seen"


@pytest.mark.parametrize("reading", [done("seen"), failed(KeyError("none"))])
def test_what_has_ended_stays_as_it_ended(reading: Future[str]):
    call = patience()
    told = call.hold(until_it_comes(reading))

    call.end()

    assert told.exception(0) is reading.exception(0)


def test_cancelling_what_is_held_cancels_what_is_under_way():
    call, reading = patience(), Future[str]()
    told = call.hold(until_it_comes(reading))

    assert told.cancel()
    call.end()

    assert reading.cancelled()
    with pytest.raises(CancelledError):
        told.result(0)


def test_the_last_is_given_up_first_so_that_it_takes_no_place_left_free():
    call, given_up = patience(), list[int]()
    for place in range(3):
        reading = Future[str]()
        reading.add_done_callback(lambda _, place=place: given_up.append(place))
        call.hold(until_it_comes(reading))

    call.end()

    assert given_up == [2, 1, 0]


def test_no_thread_is_left_when_the_call_has_ended():
    call, others = patience(), timers()  # of earlier tests, which are just ending
    call.hold(until_it_comes(Future()))
    call.start()
    (timer,) = timers() - others

    call.stop()

    timer.join(BOUND_S)
    assert not timer.is_alive()


def test_no_thread_is_begun_for_a_call_that_waits_for_nobody():
    call, others = patience(), timers()

    call.start()

    assert timers() <= others
