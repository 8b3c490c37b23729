"""Counts the usage of synchronous calls: in memory, and written as charges every few seconds.

A call is never delayed by it. A process that is killed loses the counts since its last charges;
nothing is ever counted twice, because a charge that may have been written is written again under
its own id (`shared.statements`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from api.services.caller import Caller
from shared import ids, service_clock
from shared.errors import PigeonholeError, Unavailable
from shared.job_kinds import JOB_KINDS, Body
from shared.statements import Statements
from shared.telemetry import Log
from shared.types import ClassifyResult, JobResult
from shared.usage import Charge, UsageRow, counts_of, hour_of, usage_model

log = Log("usage_counter")

FLUSH_EVERY_S = 5.0
_MAX_ROWS = 10_000  # counted between two flushes; usage of further ones is lost
_MAX_ACCOUNTS = 100_000  # whose totals are known; the balances of others count at the next flush
_STOP_S = 5.0  # longest time that the end of the process waits for the last flush

_Rows = dict[tuple[str, ...], Counter[str]]  # counts by the place of their row


@dataclass
class _Account:
    """The counts of an account that are in no charge yet, and the tokens of all since the start."""

    rows: _Rows = field(default_factory=dict)
    counted: int = 0
    written: int = 0


class UsageCounter:
    """The usage that one process sees. `start` and `stop` belong to its owner."""

    def __init__(
        self,
        statements: Statements,
        *,
        every_s: float = FLUSH_EVERY_S,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._statements = statements
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        self._rows = 0
        self._unwritten: list[tuple[str, Charge]] = []  # charges of earlier flushes
        self._flushing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write charges from now on."""
        self._thread = threading.Thread(target=self._run, name="usage counter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, within a few seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def count(self, caller: Caller, request: Body, result: JobResult) -> None:
        """Count a synchronous call that is about to be answered."""
        spec = JOB_KINDS[request.kind]
        completed, failed = spec.counts(request, result)
        lookup = result.cache if isinstance(result, ClassifyResult) else None
        place = (
            hour_of(self._clock()),
            request.kind,
            usage_model(request),
            caller.key_id,
            spec.classifier(request),
        )
        counts = counts_of(
            result.usage,
            completed=completed,
            failed=failed,
            cached=len(lookup.hits) if lookup else 0,
        )
        with self._lock:
            account = self._accounts.setdefault(caller.account, _Account())
            account.counted += result.usage.total_tokens
            known = account.rows.get(place)
            if known is not None:
                known.update(counts)
            elif self._rows < _MAX_ROWS:
                account.rows[place] = Counter(counts)
                self._rows += 1

    def totals(self, account: str) -> tuple[int, int]:
        """Tokens that this process has counted for an account, and those of them in charges."""
        with self._lock:
            known = self._accounts.get(account)
            return (known.counted, known.written) if known else (0, 0)

    def flush(self) -> None:
        """Write a charge for each account with new counts; what cannot be written is kept."""
        with self._flushing:
            if len(self._unwritten) < _MAX_ROWS:
                self._take()
            while self._unwritten:
                account, charge = self._unwritten[0]
                try:
                    self._statements.charge(account, charge)
                except Unavailable as exc:
                    log.warning("usage.delayed", reason=exc.detail, charges=len(self._unwritten))
                    return
                except PigeonholeError as exc:
                    log.error("usage.lost", reason=exc.detail, charge=charge.id)
                self._unwritten.pop(0)
                with self._lock:
                    if account in self._accounts:
                        written = sum(row.tokens for row in charge.rows)
                        self._accounts[account].written += written

    def _take(self) -> None:
        """Make the counts so far into charges with ids of their own."""
        with self._lock:
            for name, account in self._accounts.items():
                if account.rows:
                    rows = tuple(_row(*item) for item in account.rows.items())
                    charge = Charge(id=f"calls_{ids.token()}", rows=rows)
                    self._unwritten.append((name, charge))
                    account.rows = {}
            self._rows = 0
            if len(self._accounts) > _MAX_ACCOUNTS:
                self._accounts.clear()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.flush()
        self.flush()


def _row(place: tuple[str, ...], counts: Mapping[str, int]) -> UsageRow:
    names = ("hour", "endpoint", "model", "key", "classifier")
    return UsageRow.model_validate({**dict(zip(names, place, strict=True)), **counts})
