"""The time that decides: seconds since 1970 as Redis counts them, the same in every process.

A deadline is written by one process and judged by another, on another machine. A machine whose own
clock is wrong by a minute would refuse every call, and one that is days ahead would delete what is
to be kept. So a process measures how far Redis is from its own monotonic clock, and counts on from
there: its wall clock decides nothing, and when that is set, nothing jumps.

    service time = Redis TIME, half a round trip ago + what the monotonic clock has counted since

While Redis is away, the last measurement counts on. A process that never reached Redis measures the
object store's clock instead, and without either its own wall clock has to do. A wall clock that is
off is named in the log, in the metrics and by `/health/ready`. What cannot be taken back needs more
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
"""A wall clock that is further off is called wrong. NTP keeps machines within some milliseconds."""
_MEASURE_EVERY_S = 5.0
_TRIES = 3  # of one measurement: the one with the shortest round trip counts
_SHORT_S = 0.05  # a round trip that no further try need improve

Source = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    base_s: float  # service time when the monotonic clock stood at 0
    error_s: float  # half the round trip


class ServiceClock:
    """The service's time in one process; safe for any thread."""

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
        """How far the wall clock of this machine is ahead of the service's time; 0 if unknown."""
        return self._wall() - self.now() if self._measured is not None else 0.0

    def is_off(self) -> bool:
        """Whether the wall clock is off by more than `MAX_OFFSET_S` and what measuring may err."""
        measured = self._measured
        return measured is not None and abs(self.offset_s()) > MAX_OFFSET_S + measured.error_s

    def measure(self) -> None:
        """Measure anew.

        Raises:
            Unavailable: The source does not answer. The last measurement counts on; where there is
                none, one of the substitute does.
        """
        try:
            self._take(self._source)
            self._has_followed = True
        except Unavailable:
            if not self._has_followed and self._substitute is not None:
                self._take(self._substitute)
            raise

    def follow(self, source: Source, *, substitute: Source | None = None) -> None:
        """Measure now, and again every few seconds as long as the process lives.

        Args:
            source: Where the time comes from; raises `Unavailable`.
            substitute: Another clock, asked until the source answers for the first time.
        """
        self._source, self._substitute = source, substitute
        with suppress(Unavailable):
            self.measure()
        threading.Thread(target=self._go_on, name="service-clock", daemon=True).start()

    def require_agreement(self, witness: Source, *, tolerance_s: float) -> None:
        """Measure anew, and stop here unless Redis, this machine and a witness name the same time.

        Before something is deleted because it is old: with two clocks that differ, nobody knows
        which of them is wrong.

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
            said = source()
            ended = self._monotonic()
            middle = (began + ended) / 2
            found.append(_Measurement(base_s=said - middle, error_s=(ended - began) / 2))
        return found

    def _go_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(_MEASURE_EVERY_S):
            try:
                self.measure()
            except Unavailable:
                continue  # whoever needs Redis says that it is away
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
    """A difference to the service's time in words.

    >>> describe(691200.04), describe(-90)
    ('691200.0 s ahead of Redis', '90.0 s behind Redis')
    """
    return f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} Redis"


CLOCK = ServiceClock()
"""The clock of this process; its main lets it follow Redis and the object store."""


def now() -> float:
    """Seconds since 1970 by the clock of this process."""
    return CLOCK.now()
