"""The service time: seconds since 1970 by the clock of Redis, the same in every process.

One process writes a deadline and another one compares it, on another machine. A machine whose clock
is off by a minute would refuse every call, and a clock that is days ahead would delete objects too
early. So each process measures the offset between Redis and its own monotonic clock, and adds it:
the wall clock decides nothing, and a change of the wall clock moves nothing.

    service time = Redis TIME, half a round trip ago + what the monotonic clock has counted since

While Redis is unavailable, the last measurement stays in use. A process that never reached Redis
measures the clock of the object store instead; without both it uses its own wall clock. The log,
the metrics and `/health/ready` report a wall clock that is off. Irreversible operations need more
than one clock: see `require_agreement`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shared.errors import ClocksDisagree, Unavailable
from shared.telemetry import Log

log = Log("clock")
MAX_OFFSET_S = 2.0
"""The maximum offset of a wall clock before it is reported. NTP keeps machines within milliseconds.
"""
_MEASURE_EVERY_S = 5.0
_TRIES = 3  # per measurement; the one with the shortest round trip counts
_SHORT_S = 0.05  # a round trip short enough to stop trying

Source = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    base_s: float  # service time when the monotonic clock was 0
    error_s: float  # half the round trip


class ServiceClock:
    """The service time in one process; thread-safe."""

    def __init__(self, *, wall: Source = time.time, monotonic: Source = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._measured: _Measurement | None = None
        self._source: Source = wall
        self._substitute: Source | None = None
        self._has_followed = False
        self._said_off = False

    def now(self) -> float:
        """Seconds since 1970."""
        measured = self._measured
        return self._wall() if measured is None else measured.base_s + self._monotonic()

    def offset_s(self) -> float:
        """Seconds that this machine's wall clock is ahead of the service time; 0 if unknown."""
        return self._wall() - self.now() if self._measured is not None else 0.0

    def is_off(self) -> bool:
        """Whether the wall clock is off by more than `MAX_OFFSET_S` plus the measuring error."""
        measured = self._measured
        return measured is not None and abs(self.offset_s()) > MAX_OFFSET_S + measured.error_s

    def measure(self) -> None:
        """Measure the offset again.

        Raises:
            Unavailable: The source does not respond. The last measurement stays in use, or else one
                of the substitute.
        """
        try:
            self._take(self._source)
            self._has_followed = True
        except Unavailable:
            if not self._has_followed and self._substitute is not None:
                self._take(self._substitute)
            raise

    def follow(self, source: Source, *, substitute: Source | None = None) -> None:
        """Measure now, and then every few seconds for the life of the process.

        Args:
            source: Where the time comes from; raises `Unavailable`.
            substitute: Another clock, asked until the source answers for the first time.
        """
        self._source, self._substitute = source, substitute
        with suppress(Unavailable):
            self.measure()
        threading.Thread(target=self._go_on, name="service-clock", daemon=True).start()

    def require_agreement(self, witness: Source, *, tolerance_s: float) -> None:
        """Measure again, and raise unless Redis, this machine and a witness agree about the time.

        Called before old objects are deleted: if two clocks differ, it is unknown which one is
        wrong.

        Args:
            witness: Another clock, such as that of the object store.
            tolerance_s: How far that may be off.

        Raises:
            Unavailable: A clock cannot be asked.
            ClocksDisagree: They do not name the same time.
        """
        self.measure()
        if self.is_off():
            raise ClocksDisagree(f"this machine's clock is {describe(self.offset_s())}")
        apart_s = witness() - self.now()
        if abs(apart_s) > tolerance_s:
            raise ClocksDisagree(f"the object store's clock is {describe(apart_s)}")

    def _take(self, source: Source) -> None:
        self._measured = min(self._tries(source), key=lambda each: each.error_s)
        self._say()

    def _tries(self, source: Source) -> list[_Measurement]:
        found: list[_Measurement] = []
        while len(found) < _TRIES and not (found and found[-1].error_s < _SHORT_S / 2):
            began = self._monotonic()
            measured = source()
            ended = self._monotonic()
            middle = (began + ended) / 2
            found.append(_Measurement(base_s=measured - middle, error_s=(ended - began) / 2))
        return found

    def _go_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(_MEASURE_EVERY_S):
            try:
                self.measure()
            except Unavailable:
                continue  # code that needs Redis reports the outage
            except Exception as exc:  # noqa: BLE001  the process must not lose its clock
                log.error("clock.not_measured", exc=exc)

    def _say(self) -> None:
        off = self.is_off()
        if off and not self._said_off:
            log.warning("clock.off", offset_s=round(self.offset_s(), 1))
        elif self._said_off and not off:
            log.info("clock.right", offset_s=round(self.offset_s(), 1))
        self._said_off = off


def describe(offset_s: float) -> str:
    """An offset from the service time in words.

    >>> describe(691200.04), describe(-90)
    ('691200.0 s ahead of Redis', '90.0 s behind Redis')
    """
    return f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} Redis"


CLOCK = ServiceClock()
"""The clock of this process; its main starts the measurements."""


def now() -> float:
    """The service time, in seconds since 1970."""
    return CLOCK.now()
