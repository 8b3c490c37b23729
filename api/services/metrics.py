"""Metrics of the API: its own counts, and gauges that a scrape reads from the ledger.

With several API processes each writes its counts to files in `PROMETHEUS_MULTIPROC_DIR`, and a
scrape of any of them adds all up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.services.worker_registry import KEEPER, WORKER
from shared import service_clock, telemetry
from shared.errors import Unavailable
from shared.member_reports import MemberReport
from shared.messages import lane_of, lanes
from shared.ports import Ledger

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ApiMetrics:
    """The counts of one app."""

    def __init__(self, ledger: Ledger) -> None:
        own = CollectorRegistry()
        self._requests = Counter(
            telemetry.REQUESTS,
            "Answered HTTP requests.",
            ("method", "route", "status"),
            registry=own,
        )
        self._seconds = Histogram(
            telemetry.REQUEST_SECONDS,
            "Seconds from the headers of a request to its response.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=own,
        )
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            own = CollectorRegistry()
            multiprocess.MultiProcessCollector(own)  # type: ignore[no-untyped-call]
        own.register(_LedgerCollector(ledger))
        self._registry = own

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self._registry)


class _LedgerCollector(Collector):
    """Queues and members as they are now; nothing where Redis is away, so a scrape never fails."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = GaugeMetricFamily(
            telemetry.WAITING,
            "Calls and tasks of jobs that wait, over all models.",
            labels=("queue",),
        )
        members = GaugeMetricFamily(
            telemetry.MEMBERS, "Living workers and keepers.", labels=("role",)
        )
        clocks = GaugeMetricFamily(
            telemetry.CLOCK_OFFSET,
            "Seconds that the machine's clock is ahead of Redis; the worst value of each role.",
            labels=("role",),
        )
        try:
            counts = dict.fromkeys(lanes(), 0)
            for queue in self._ledger.queues():
                lane = lane_of(queue)
                counts[lane] = counts.get(lane, 0) + self._ledger.waiting(queue)
            for lane, count in counts.items():
                waiting.add_metric([lane], count)
            reports = {role: self._ledger.reports(role).values() for role in (WORKER, KEEPER)}
        except Unavailable:
            return
        clocks.add_metric(["api"], service_clock.CLOCK.offset_s())
        for role, members_of_role in reports.items():
            members.add_metric([role], len(members_of_role))
            offsets_s = [
                MemberReport.model_validate_json(each).clock_offset_s for each in members_of_role
            ]
            if offsets_s:
                clocks.add_metric([role], max(offsets_s, key=abs))
        yield waiting
        yield members
        yield clocks
