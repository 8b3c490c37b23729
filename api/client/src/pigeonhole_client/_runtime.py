"""What the synchronous and the asynchronous client do differently beside HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")


class Runtime:
    """Waits, blocking work and bounded concurrency by threads."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    @staticmethod
    def run(work: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> A:
        """The result of work that blocks."""
        return work(*args, **kwargs)

    @staticmethod
    def map(work: Callable[[A], B], items: Iterable[A], *, at_once: int) -> list[B]:
        """The results of work on each item, in order; the first error ends the rest."""
        waiting = list(items)
        if len(waiting) < 2:
            return [work(item) for item in waiting]
        with ThreadPoolExecutor(at_once, thread_name_prefix="pigeonhole") as pool:
            running = [pool.submit(work, item) for item in waiting]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                return [future.result() for future in running]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


class AsyncRuntime:
    """The same on an event loop of asyncio."""

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    @staticmethod
    async def run(work: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> A:
        """The result of work that blocks, from a thread."""
        return await asyncio.to_thread(work, *args, **kwargs)

    @staticmethod
    async def map(
        work: Callable[[A], Awaitable[B]], items: Iterable[A], *, at_once: int
    ) -> list[B]:
        """The results of work on each item, in order; the first error ends the rest."""
        places = asyncio.Semaphore(at_once)

        async def one(item: A) -> B:
            async with places:
                return await work(item)

        running = [asyncio.ensure_future(one(item)) for item in items]
        try:
            return list(await asyncio.gather(*running))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
