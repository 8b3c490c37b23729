"""Futures that follow one another, so that no thread waits for what comes between.

What is cancelled at the end is cancelled where it is under way. Which thread goes on with the work
is whichever ended the step before: what it is given to do must be quick.

A future keeps its callbacks when it has ended. So nothing here keeps both ways: what had come in
between would stay until the interpreter looks for cycles, a gigabyte of images later. Nor does an
error that ends a future: its traceback holds the frames it came through, and with them the text or
image that they were at and the future itself: see `without_variables`.
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
    """The future of what follows from the first one's result.

    An error of either, or of `follow` itself, is the error of the whole.
    """
    whole: Future[_B] = Future()
    under_way: list[Future[Any]] = [first]
    steps = [follow]

    def go_on(done: Future[_A]) -> None:
        step = steps.pop()
        if whole.cancelled():
            return
        with suppress(ValueError):  # what it has come to is the step's, and no longer kept here
            under_way.remove(done)
        try:
            second = step(done.result())
        except BaseException as exc:  # noqa: BLE001  whoever waits for the whole gets it
            end(whole, error=without_variables(exc))
            return
        under_way.append(second)
        if whole.cancelled():
            second.cancel()
        second.add_done_callback(lambda last: copy(last, whole))

    cancel_with(whole, under_way)
    first.add_done_callback(go_on)
    return whole


def mapped(first: Future[_A], change: Callable[[_A], _B]) -> Future[_B]:
    """The future of the first one's result, changed."""
    return then(first, lambda result: done(change(result)))


def done(result: _A) -> Future[_A]:
    """A future that has ended with the result."""
    future: Future[_A] = Future()
    future.set_result(result)
    return future


def failed(error: BaseException) -> Future[Any]:
    """A future that has ended with the error."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def settled(futures: Sequence[Future[Any]]) -> Future[None]:
    """Done once all of them are, however they ended; cancelling it cancels them."""
    whole = gathered(futures, lambda: None)
    cancel_with(whole, list(futures))
    return whole


def gathered(futures: Sequence[Future[Any]], make: Callable[[], _A]) -> Future[_A]:
    """The future of what is made once all of them have ended, however; it cancels none of them."""
    whole: Future[_A] = Future()
    lock = threading.Lock()
    left = len(futures)
    makers = [make]  # forgotten when it is called: the futures keep `one_more`

    def one_more(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left <= 0
        if last:
            try:
                made = makers.pop()()
            except BaseException as exc:  # noqa: BLE001  whoever waits for the whole gets it
                end(whole, error=without_variables(exc))
            else:
                end(whole, made)

    for future in futures:
        future.add_done_callback(one_more)
    if not futures:
        one_more(None)
    return whole


def cancel_with(whole: Future[Any], under_way: list[Future[Any]]) -> None:
    """Cancel what is under way if the whole is; once the whole has ended the list is empty."""

    def stop(done: Future[Any]) -> None:
        if done.cancelled():
            for future in list(under_way):
                future.cancel()
        under_way.clear()

    whole.add_done_callback(stop)


def without_variables(error: _E) -> _E:
    """The error just caught, so that it may be kept: it holds nothing of the frames it crossed.

    One of ours loses its traceback, which nobody reads. A bug keeps the lines of its own: only what
    frames that still run hold stays with it.
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
    """End one future as another has ended."""
    if ended.cancelled():
        to.cancel()
        return
    error = ended.exception()
    if error is not None:
        end(to, error=error)
    else:
        end(to, ended.result())


def end(future: Future[Any], result: Any = None, *, error: BaseException | None = None) -> None:
    """End a future that may have been cancelled meanwhile."""
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
