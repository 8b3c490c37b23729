"""Chained futures: steps that follow one another without a blocked thread.

Cancelling the last future cancels the step in flight. A step runs in the thread that ended the
previous step, so it must be quick.

A future keeps its callbacks after it has ended. The functions here therefore avoid reference
cycles: intermediate results would live until the garbage collector runs, a gigabyte of images
later. The same holds for errors: a traceback holds its frames, and with them texts, images and the
future itself; see `without_variables`.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from shared.errors import PigeonholeError

_MAX_CHAIN = 20  # of causes
_A = TypeVar("_A")
_B = TypeVar("_B")
_E = TypeVar("_E", bound=BaseException)


def then(first: Future[_A], follow: Callable[[_A], Future[_B]]) -> Future[_B]:
    """Chain a step: the future of `follow(result of first)`.

    An error of either future, or of `follow` itself, is the error of the returned future.
    """
    whole: Future[_B] = Future()
    in_flight: list[Future[Any]] = [first]
    steps = [follow]

    def go_on(done: Future[_A]) -> None:
        step = steps.pop()
        if whole.cancelled():
            return
        with suppress(ValueError):  # the step owns the result now
            in_flight.remove(done)
        try:
            second = step(done.result())
        except BaseException as exc:  # noqa: BLE001  the returned future gets it
            end(whole, error=without_variables(exc))
            return
        in_flight.append(second)
        if whole.cancelled():
            second.cancel()
        second.add_done_callback(lambda last: copy(last, whole))

    cancel_with(whole, in_flight)
    first.add_done_callback(go_on)
    return whole


def mapped(first: Future[_A], change: Callable[[_A], _B]) -> Future[_B]:
    """The future of `change(result of first)`."""
    return then(first, lambda result: done(change(result)))


def done(result: _A) -> Future[_A]:
    """A future that has ended with a result."""
    future: Future[_A] = Future()
    future.set_result(result)
    return future


def failed(error: BaseException) -> Future[Any]:
    """A future that has ended with an error."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def settled(futures: Sequence[Future[Any]]) -> Future[None]:
    """Ends once all futures have ended, in any way; cancelling it cancels them."""
    whole = gathered(futures, lambda: None)
    cancel_with(whole, list(futures))
    return whole


def gathered(futures: Sequence[Future[Any]], make: Callable[[], _A]) -> Future[_A]:
    """The future of `make()`, called once all futures have ended in any way; cancels none."""
    whole: Future[_A] = Future()
    lock = threading.Lock()
    left = len(futures)
    makers = [make]  # emptied by the call, since the futures keep `one_more`

    def one_more(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left <= 0
        if last:
            try:
                made = makers.pop()()
            except BaseException as exc:  # noqa: BLE001  the waiters for the whole get it
                end(whole, error=without_variables(exc))
            else:
                end(whole, made)

    for future in futures:
        future.add_done_callback(one_more)
    if not futures:
        one_more(None)
    return whole


def cancel_with(whole: Future[Any], in_flight: list[Future[Any]]) -> None:
    """Cancel the futures in flight if `whole` is cancelled; empty the list once it has ended."""

    def stop(done: Future[Any]) -> None:
        if done.cancelled():
            for future in list(in_flight):
                future.cancel()
        in_flight.clear()

    whole.add_done_callback(stop)


def without_variables(error: _E) -> _E:
    """Release the frames that a caught error holds, so that it can be stored.

    A `PigeonholeError` loses its traceback, which is not used. Another error keeps its traceback,
    but the variables of its finished frames are cleared.
    """
    each: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        if each is None:
            break
        if isinstance(each, PigeonholeError):
            each.__traceback__ = None
        else:
            traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


def copy(ended: Future[_A], to: Future[_A]) -> None:
    """End one future in the same way as another."""
    if ended.cancelled():
        to.cancel()
        return
    error = ended.exception()
    if error is not None:
        end(to, error=error)
    else:
        end(to, ended.result())


def end(future: Future[Any], result: Any = None, *, error: BaseException | None = None) -> None:
    """End a future, unless it was cancelled meanwhile."""
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
