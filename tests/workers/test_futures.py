"""Futures that follow one another: results, errors and cancels go where they must."""

from __future__ import annotations

import gc
import traceback
import weakref
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from shared.errors import UnreadableInput
from workers.futures import copy, done, end, failed, mapped, settled, then, without_variables


def test_what_follows_gets_the_result_and_gives_its_own():
    first: Future[int] = Future()
    second: Future[str] = Future()
    seen: list[int] = []

    def follow(result: int) -> Future[str]:
        seen.append(result)
        return second

    whole = then(first, follow)
    first.set_result(3)
    assert seen == [3]
    assert not whole.done()

    second.set_result("three")
    assert whole.result(0) == "three"


def test_what_has_ended_already_is_gone_on_from_at_once():
    assert then(done(3), lambda n: done(n + 1)).result(0) == 4
    assert mapped(done(3), str).result(0) == "3"


@pytest.mark.parametrize(
    "whole",
    [
        then(failed(KeyError("first")), lambda _: done(1)),
        then(done(1), lambda _: failed(KeyError("second"))),
        then(done({}), lambda found: done(found["follow"])),
        mapped(done({}), lambda found: found["change"]),
    ],
    ids=["of the first", "of the second", "of what follows", "of the change"],
)
def test_an_error_anywhere_is_that_of_the_whole(whole: Future[Any]):
    with pytest.raises(KeyError):
        whole.result(0)


def test_nothing_follows_an_error():
    followed: list[object] = []

    then(failed(KeyError()), lambda result: done(followed.append(result)))

    assert followed == []


def test_cancelling_the_whole_cancels_the_first_step():
    first: Future[int] = Future()
    whole = then(first, done)

    assert whole.cancel()

    assert first.cancelled()


def test_cancelling_the_whole_cancels_the_second_step():
    first: Future[int] = Future()
    second: Future[int] = Future()
    whole = then(first, lambda _: second)
    first.set_result(1)

    assert whole.cancel()

    assert second.cancelled()


def test_nothing_follows_when_the_whole_was_cancelled_while_the_first_step_ran():
    first: Future[int] = Future()
    first.set_running_or_notify_cancel()  # can no longer be cancelled
    followed: list[object] = []
    whole = then(first, lambda result: done(followed.append(result)))

    whole.cancel()
    first.set_result(1)

    assert followed == []


def test_a_first_step_that_is_cancelled_ends_the_whole():
    first: Future[int] = Future()
    whole = then(first, done)

    first.cancel()

    with pytest.raises(CancelledError):
        whole.result(0)


def test_settled_waits_for_all_and_for_errors_and_cancels_too():
    good: Future[int] = Future()
    bad: Future[int] = Future()
    gone: Future[int] = Future()
    whole = settled([good, bad, gone])

    bad.set_exception(KeyError())
    gone.cancel()
    gone.set_running_or_notify_cancel()
    assert not whole.done()
    good.set_result(1)

    assert whole.result(0) is None


def test_settled_of_nothing_is_done():
    assert settled([]).result(0) is None


def test_cancelling_settled_cancels_all():
    some: list[Future[int]] = [Future(), Future()]

    settled(some).cancel()

    assert all(each.cancelled() for each in some)


def test_a_copy_ends_as_the_original():
    for ended in (done(1), failed(KeyError())):
        to: Future[Any] = Future()
        copy(ended, to)
        assert (to.exception(0) is None) == (ended.exception(0) is None)
    gone: Future[int] = Future()
    gone.cancel()
    to = Future()

    copy(gone, to)

    assert to.cancelled()


def test_ending_what_was_cancelled_meanwhile_is_no_error():
    gone: Future[int] = Future()
    gone.cancel()

    end(gone, 1)
    end(gone, error=KeyError())

    assert gone.cancelled()


class Large:
    """Something that a weak reference can look after."""


def test_what_came_in_between_goes_as_soon_as_nobody_holds_it():
    first: Future[Large] = Future()
    between: list[Future[Large]] = [Future(), Future()]
    whole = mapped(
        then(first, lambda _: then(settled(between[:1]), lambda _: between[1])), lambda _: "end"
    )
    large = [Large() for _ in range(3)]
    left = [weakref.ref(each) for each in large]

    gc.disable()  # which would find cycles, at a time that nobody knows
    try:
        first.set_result(large.pop())
        for future in between:
            future.set_result(large.pop())
        between.clear()
        first = future = Future()
        assert [each() for each in left] == [None, None, None]
    finally:
        gc.enable()
    assert whole.result(0) == "end"


def test_a_first_result_goes_before_what_follows_has_ended():
    second: Future[str] = Future()
    whole = then(done(large := Large()), lambda _: second)
    left = weakref.ref(large)

    del large
    assert left() is None

    second.set_result("end")
    assert whole.result(0) == "end"


class _Large:
    """What an error's frames may hold, and a test can see go."""


def test_an_error_that_is_kept_keeps_nothing_of_the_frames_it_came_through():
    gone: list[weakref.ref[_Large]] = []

    def tokenised(text: _Large) -> list[int]:
        ids = [text]
        gone.append(weakref.ref(ids[0]))
        raise UnreadableInput("is too long")

    gc.disable()
    try:
        kept = mapped(mapped(done(_Large()), tokenised), len)

        assert isinstance(kept.exception(0), UnreadableInput)
        assert gone[0]() is None
    finally:
        gc.enable()


def test_a_bug_that_is_kept_keeps_its_lines_and_not_the_variables_of_its_frames():
    gone: list[weakref.ref[_Large]] = []

    def crash() -> None:
        large = _Large()
        gone.append(weakref.ref(large))
        raise KeyError("a bug")

    error = mapped(done(0), lambda _: crash()).exception(0)

    assert gone[0]() is None
    assert error is not None
    assert "in crash" in "".join(traceback.format_exception(error))
    assert without_variables(error) is error
