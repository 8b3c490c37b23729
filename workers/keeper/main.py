"""The keeper: job recovery, webhook delivery, retention. `python -m workers.keeper.main`

Every second it moves queues to live workers of their model, requeues tasks with expired leases,
releases delayed tasks, and rings doorbells of queues that have work but no consumer. After a loss
of Redis, and every `audit_s` seconds, it adds to the ledger every job that has a marker on the
object store, and ends overdue jobs. It cancels the jobs of suspended accounts, and delivers due
webhooks. At longer intervals it deletes expired data and the orphans that killed training jobs
left.

Every step is atomic or idempotent, so two keepers may run without coordination.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import ids, service_clock, tracing
from shared.accounts import AccountStore
from shared.adapters.celery.broker import CeleryDoorbell
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.store_factory import store_of
from shared.batches import UPLOAD_RETENTION_S
from shared.classifier_store import ClassifierStore
from shared.errors import BrokerUnavailable, ClocksDisagree, PigeonholeError
from shared.feedback_store import FeedbackStore
from shared.job_intake import JobIntake
from shared.member_reports import MemberReport
from shared.messages import encode
from shared.ports import Doorbell, Ledger, ObjectStore
from shared.retraining_store import RetrainingStore
from shared.settings import Settings
from shared.statements import Statements
from shared.telemetry import Log, start_logging
from shared.webhook_store import WebhookStore
from workers import metrics
from workers.keeper.auto_rollback import LiveChecks
from workers.keeper.charge_posting import post_charges
from workers.keeper.deferred_deletion import finish_deletions
from workers.keeper.deletion_limit import DeletionLimit
from workers.keeper.drift_watch import DriftWatch
from workers.keeper.job_recovery import adopt
from workers.keeper.orphan_gc import sweep
from workers.keeper.periodic import Chore
from workers.keeper.queue_failover import reroute, workers_of_queues
from workers.keeper.retention import (
    expire_call_records,
    expire_deliveries,
    expire_files,
    expire_jobs,
    expire_text_batches,
    expire_uploads,
)
from workers.keeper.schedules import Schedules
from workers.keeper.suspension import cancel_suspended
from workers.keeper.webhook_delivery import WebhookDelivery
from workers.outbound_http.client import Outbound

log = Log("keeper")
_TICK_S = 1.0
_MAX_BELLS = 8  # that a queue may hold (`lua/prelude.lua`)
_STILL_S = 30.0  # an iteration waits for Redis, at most some seconds for each queue
_SUSPEND_EVERY_S = 3.0  # one listing, and a second one if an account was suspended
_DELIVER_EVERY_S = 2.0  # each run lists a prefix, which object stores charge for
_POST_EVERY_S = 5.0  # one listing; reports add what waits
_SCHEDULE_EVERY_S = 10.0
_LIVE_CHECK_EVERY_S = 10.0  # one listing, and a few more where feedback has come
_DRIFT_EVERY_S = 60.0  # some reads for each classifier in use whose owner wants to know
_EXPIRE_EVERY_S = 600.0
_DELETE_EVERY_S = 30.0  # one listing, and a second one if deletions wait
_FILES_EVERY_S = 3600.0  # expired files are hidden already; this frees their space
_SWEEP_EVERY_S = 6 * 3600.0
_ORPHAN_AGE_S = 86400.0  # no record will ever name an unnamed object of this age
_STORE_CLOCK_S = (
    60.0  # tolerated clock difference of the object store; retention times are hours or more
)
_COMPLETION_S = 3600.0  # completing an upload at its last moment reads its parts for a while
_REPORT_TTL_S = 8.0
ROLE = "keeper"


@dataclass(kw_only=True)
class Keeper:
    """The loop of the keeper. `clock` gives seconds since 1970.

    `compare_clocks` raises `ClocksDisagree` if ages cannot be trusted. The tick itself uses only
    Redis; chores that use the object store run in threads, so that a slow object store delays
    neither leases nor doorbells.
    """

    ledger: Ledger
    store: ObjectStore
    doorbell: Doorbell
    delivery: WebhookDelivery
    schedules: Schedules
    live_checks: LiveChecks
    max_attempts: int
    lease_s: float
    audit_s: float
    result_retention_s: float
    compare_clocks: Callable[[], object]
    key_cache_s: float = 10.0
    clock: Callable[[], float] = service_clock.now
    member: str = field(default_factory=ids.token)
    _epoch: str = ""
    _ticked_at: float = float("-inf")
    _reap_from: float = (
        0.0  # monotonic: no lease is reclaimed before, so that workers can renew first
    )

    def __post_init__(self) -> None:
        self._statements = Statements(store=self.store, clock=self.clock)
        self._audit = Chore("audit", self._adopt, every_s=self.audit_s)
        self._webhooks = Chore("webhooks", self.delivery.deliver_due, every_s=_DELIVER_EVERY_S)
        self._charges = Chore("charges", self._post_charges, every_s=_POST_EVERY_S)
        self._schedules = Chore("schedules", self.schedules.fire_due, every_s=_SCHEDULE_EVERY_S)
        self._live_checks = Chore(
            "live checks", self.live_checks.run_requested, every_s=_LIVE_CHECK_EVERY_S
        )
        watch = DriftWatch(store=self.store, schedules=self.schedules, clock=self.clock)
        self._drift = Chore("drift", watch.look, every_s=_DRIFT_EVERY_S)
        self._suspensions = Chore("suspensions", self._suspend, every_s=_SUSPEND_EVERY_S)
        self._expiry = Chore("expiry", self._expire, every_s=_EXPIRE_EVERY_S)
        self._deletions = Chore("deletions", self._finish_deletions, every_s=_DELETE_EVERY_S)
        self._files = Chore("files", self._expire_files, every_s=_FILES_EVERY_S)
        self._sweep = Chore("sweep", self._sweep_classifiers, every_s=_SWEEP_EVERY_S)
        waits_s = {
            **dict.fromkeys(("jobs", "call records", "deliveries"), _EXPIRE_EVERY_S),
            **dict.fromkeys(("files", "uploads", "text batches"), _FILES_EVERY_S),
            "classifiers": _SWEEP_EVERY_S,
        }
        # The start of a chore may shift by the duration of the previous run.
        self._limits = {
            kind: DeletionLimit(kind, wait_s=wait_s / 2) for kind, wait_s in waits_s.items()
        }

    def run(self, stopping: threading.Event) -> None:
        """Run until `stopping` is set. During an outage it retries every second."""
        while not stopping.is_set():
            self._ticked_at = time.monotonic()
            try:
                self.tick()
            except BrokerUnavailable as exc:
                # Workers could not renew during the outage: grant them one lease time.
                self._reap_from = time.monotonic() + self.lease_s
                self._audit.hurry()
                log.warning("keeper.no_broker", reason=exc.detail)
            except PigeonholeError as exc:
                log.error("keeper.stumbled", exc=exc)
            stopping.wait(_TICK_S)

    def alive(self) -> bool:
        """Whether the loop goes round; for the probes of a container."""
        return time.monotonic() - self._ticked_at < _STILL_S

    def tick(self) -> None:
        """Run one iteration and start the chores that are due.

        Raises:
            BrokerUnavailable: Redis is unavailable; the next tick does the rest.
        """
        report = MemberReport(clock_offset_s=service_clock.CLOCK.offset_s())
        self.ledger.report(ROLE, self.member, encode(report), ttl_s=_REPORT_TTL_S)
        epoch = self.ledger.epoch(ids.token())
        if epoch != self._epoch:
            log.info("keeper.new_ledger", known=bool(self._epoch))
            self._epoch = epoch
            self._audit.hurry()
        reroute(self.ledger)
        if time.monotonic() >= self._reap_from:
            reaped = self.ledger.reclaim_expired(attempts=self.max_attempts)
            if reaped.expired:
                log.warning("keeper.reaped", leases=reaped.expired)
                metrics.REAPED.inc(reaped.expired)
            self._ring(reaped.ring)
        self._audit.start_if_due()
        self._webhooks.start_if_due()
        self._charges.start_if_due()
        self._schedules.start_if_due()
        self._live_checks.start_if_due()
        self._drift.start_if_due()
        self._suspensions.start_if_due()
        self._expiry.start_if_due()
        self._deletions.start_if_due()
        self._files.start_if_due()
        self._sweep.start_if_due()

    def _ring(self, queues: Sequence[str]) -> None:
        """Ring for waiting work, once for each worker of its queue: busy workers take doorbells,
        too, so with one doorbell at a time the idle ones would begin one after the other.
        """
        workers = workers_of_queues(self.ledger) if queues else {}
        for queue in queues:
            for _ in range(max(1, min(workers.get(queue, 0), _MAX_BELLS))):
                self.doorbell.ring(queue)

    def settle(self, *, timeout_s: float) -> None:
        """Wait for the running chores, at most `timeout_s` each."""
        self._audit.wait(timeout_s=timeout_s)
        self._webhooks.wait(timeout_s=timeout_s)
        self._charges.wait(timeout_s=timeout_s)
        self._schedules.wait(timeout_s=timeout_s)
        self._live_checks.wait(timeout_s=timeout_s)
        self._drift.wait(timeout_s=timeout_s)
        self._suspensions.wait(timeout_s=timeout_s)
        self._expiry.wait(timeout_s=timeout_s)
        self._deletions.wait(timeout_s=timeout_s)
        self._files.wait(timeout_s=timeout_s)
        self._sweep.wait(timeout_s=timeout_s)

    def _adopt(self) -> None:
        now = datetime.fromtimestamp(self.clock(), UTC)
        adopt(self.store, self.ledger, self.doorbell, now=now)

    def _post_charges(self) -> None:
        post_charges(self._statements)

    def _suspend(self) -> None:
        now = datetime.fromtimestamp(self.clock(), UTC)
        cancel_suspended(
            AccountStore(store=self.store, clock=self.clock),
            self.ledger,
            self.doorbell,
            now=now,
            key_cache_s=self.key_cache_s,
        )

    def _expire(self) -> None:
        if not self._age_is_sure():
            return
        now, limits = self.clock(), self._limits
        before = now - self.result_retention_s
        expire_jobs(self.store, self.ledger, before=before, now=now, limit=limits["jobs"])
        expire_call_records(self.store, now=now, limit=limits["call records"])
        expire_deliveries(self.store, before=before, limit=limits["deliveries"])

    def _finish_deletions(self) -> None:
        finish_deletions(self.store, now=self.clock())

    def _expire_files(self) -> None:
        if not self._age_is_sure():
            return
        now, limits = self.clock(), self._limits
        before = now - self.result_retention_s - _ORPHAN_AGE_S
        expire_files(self.store, before=before, now=now, limit=limits["files"])
        before = now - UPLOAD_RETENTION_S - _COMPLETION_S
        expire_uploads(self.store, before=before, limit=limits["uploads"])
        expire_text_batches(self.store, now=now, limit=limits["text batches"])

    def _sweep_classifiers(self) -> None:
        if self._age_is_sure():
            before = self.clock() - _ORPHAN_AGE_S
            sweep(self.store, before=before, limit=self._limits["classifiers"])

    def _age_is_sure(self) -> bool:
        """Whether the clocks agree, so that ages can be trusted; otherwise nothing is deleted.

        Raises:
            Unavailable: A clock cannot be read.
        """
        try:
            self.compare_clocks()
        except ClocksDisagree as exc:
            log.warning("retention.put_off", reason=exc.detail)
            return False
        return True


def main() -> None:
    """Run a keeper until SIGTERM or SIGINT."""
    try:
        settings = Settings.from_env(os.environ)
        start_logging("keeper", settings.log_level)
        tracing.start("keeper", settings.otlp_endpoint)
        _run(settings)
    except PigeonholeError as exc:
        sys.exit(f"pigeonhole: {exc.detail}")


def _run(settings: Settings) -> None:
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    client = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
    ledger, store = RedisLedger(client), store_of(settings)
    clock = service_clock.CLOCK
    clock.follow(ledger.now, substitute=store.now)
    delivery = WebhookDelivery(WebhookStore(store=store), Outbound.of(settings))
    doorbell = CeleryDoorbell(settings.redis_url, timeout_s=settings.redis_timeout_s)
    keeper = Keeper(
        ledger=ledger,
        store=store,
        doorbell=doorbell,
        delivery=delivery,
        schedules=Schedules(
            retrainings=RetrainingStore(store=store),
            records=ClassifierStore(store=store),
            intake=JobIntake(
                store=store,
                ledger=ledger,
                doorbell=doorbell,
                result_retention_s=settings.result_retention_s,
            ),
            ledger=ledger,
            deadline_s=settings.retraining_deadline_s,
        ),
        live_checks=LiveChecks(
            retrainings=RetrainingStore(store=store),
            records=ClassifierStore(store=store),
            feedback=FeedbackStore(store=store),
            webhooks=WebhookStore(store=store),
            clock=service_clock.now,
        ),
        max_attempts=settings.max_attempts,
        lease_s=settings.lease_s,
        audit_s=settings.audit_s,
        result_retention_s=settings.result_retention_s,
        key_cache_s=settings.key_cache_s,
        compare_clocks=lambda: clock.require_agreement(store.now, tolerance_s=_STORE_CLOCK_S),
    )
    metrics.serve(settings.metrics_port, role=ROLE, healthy=keeper.alive)
    log.info("keeper.started", member=keeper.member)
    keeper.run(stopping)
    delivery.close()
    tracing.stop()
    log.info("keeper.stopped")


if __name__ == "__main__":
    main()
