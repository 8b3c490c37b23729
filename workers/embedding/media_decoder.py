"""Decodes images and documents in child processes: in which children, and for how long.

Media of synchronous calls begin in quick children. After `_QUICK_S` of processor time in one of
them a medium begins again in a patient child. So a slow file delays others by no more than that,
and costs that much more. Documents of bulk begin in patient children at once. Patient children have
a lower scheduling priority than every other process.

`limit_s` counts from the moment at which a child gets the bytes of a file. It bounds text, form
fields, notes and pages together, in quick and patient children together. The time in the queue and
the download do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from shared.errors import PigeonholeError
from workers.futures import cancel_with, copy, end, without_variables
from workers.inputs.documents import reader
from workers.inputs.documents.model import Document, DocumentBounds
from workers.inputs.images import decode
from workers.inputs.images.decode import FramedImage, ImageLimits
from workers.inputs.images.frame import Frame
from workers.sandbox.pool import Sandbox

_MODULES = ("workers.inputs.documents.reader", "workers.inputs.images.decode")
_ROOM_S = 30.0  # a queue of the decoders that stays full so long does not move
_QUICK_S = 1.0  # a page of text takes 0.01, one of a scan 0.1 to 0.3
_AWAITED = 2  # times the limit by the clock, for a synchronous call: less than the call waits
_T = TypeVar("_T")


class Decoding(Future[_T]):
    """What comes of bytes. `place` ends when the quick child is free, which may be before."""

    def __init__(self) -> None:
        super().__init__()
        self.place: Future[None] = Future()


class Decoders:
    """Decodes images and documents in child processes; `close` it to end them.

    Args:
        children: how many quick ones; there are as many patient ones but one.
        memory_bytes: what one may take for a image or document.
        limit_s: how long it may take for one, in processor time.
        at_once: start the quick children now, not with the first image or document.
    """

    def __init__(self, *, children: int, memory_bytes: int, limit_s: float, at_once: bool) -> None:
        self.at_once = children + 1  # one waits beside the children, so that none is ever idle
        self.documents_at_once = max(1, children - 1)
        self._limit_s = limit_s
        self._quick_s = _QUICK_S if limit_s > 2 * _QUICK_S else None
        self._quick = Sandbox(
            _MODULES, workers=children, memory_bytes=memory_bytes, at_once=at_once
        )
        self._patient = Sandbox(
            _MODULES,
            workers=self.documents_at_once,
            memory_bytes=memory_bytes,
            at_once=False,
            gives_way=True,
        )

    def image(self, data: bytes, frame: Frame) -> Decoding[FramedImage]:
        """A image, brought into a frame."""
        return self._decoded(decode.read, data, frame, ImageLimits())

    def document(self, data: bytes, frame: Frame | None, max_pages: int) -> Decoding[Document]:
        """So many pages of a document; as images too if there is a frame."""
        return self._decoded(reader.read, data, frame, max_pages, DocumentBounds())

    def document_of_bulk(
        self, data: bytes, frame: Frame | None, max_pages: int
    ) -> Future[Document]:
        """The same, for bulk."""
        return self._patiently(reader.read, data, frame, max_pages, DocumentBounds())

    def healthy(self) -> bool:
        """Whether it can be given work."""
        return self._quick.healthy() and self._patient.healthy()

    def close(self) -> None:
        """End the children; what they have not done ends with Unavailable."""
        self._quick.close()
        self._patient.close()

    def _decoded(self, function: Callable[..., _T], *args: object) -> Decoding[_T]:
        whole: Decoding[_T] = Decoding()
        first = self._quick.submit(
            function, *args, limit_s=self._limit_s, yields_s=self._quick_s, room_s=_ROOM_S
        )
        under_way: list[Future[_T]] = [first]
        cancel_with(whole, under_way)
        go_on = [partial(self._patiently, function, *args)]

        def came(ended: Future[_T]) -> None:
            patiently = go_on.pop()
            moved = not ended.cancelled() and isinstance(ended.exception(), TimeoutError)
            try:
                if not moved:
                    copy(ended, whole)
                elif not whole.cancelled():
                    second = patiently(
                        limit_s=self._limit_s - _QUICK_S, clock_s=_AWAITED * self._limit_s
                    )
                    under_way.append(second)
                    if whole.cancelled():
                        second.cancel()
                    second.add_done_callback(lambda last: copy(last, whole))
            except PigeonholeError as exc:
                end(whole, error=without_variables(exc))
            finally:
                end(whole.place)

        first.add_done_callback(came)
        return whole

    def _patiently(
        self,
        function: Callable[..., _T],
        *args: object,
        limit_s: float | None = None,
        clock_s: float | None = None,
    ) -> Future[_T]:
        return self._patient.submit(
            function,
            *args,
            limit_s=self._limit_s if limit_s is None else limit_s,
            clock_s=clock_s,
            said_s=self._limit_s,
            room_s=_ROOM_S,
        )
