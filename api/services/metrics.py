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
from shared.messages import CONTROL, lane_of, model_of, queues_of
from shared.model_catalogue import Catalogue
from shared.ports import Ledger

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"  # a model that has left the catalogue, or a queue of another version
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ApiMetrics:
    """The counts of one app."""

    def __init__(self, ledger: Ledger, catalogue: Catalogue) -> None:
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
        own.register(_LedgerCollector(ledger, catalogue))
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

    def __init__(self, ledger: Ledger, catalogue: Catalogue) -> None:
        self._ledger = ledger
        # Every series is there from the start, at 0, and nothing in Redis can add many.
        self._series = {(CONTROL, "")} | {
            (lane_of(queue), model_of(queue))
            for entry in catalogue.entries.values()
            for device in entry.devices
            for queue in queues_of(device, [entry.name])
        }

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = GaugeMetricFamily(
            telemetry.WAITING,
            "Calls and jobs with ready tasks that wait, by queue and model.",
            labels=("queue", "model"),
        )
        members = GaugeMetricFamily(
            telemetry.MEMBERS, "Living workers and keepers.", labels=("role",)
        )
        clocks = GaugeMetricFamily(
            telemetry.CLOCK_OFFSET,
            "Seconds that the machine's clock is ahead of Redis; the worst value of each role.",
            labels=("role",),
        )
        lanes, models = (set(labels) for labels in zip(*self._series, strict=True))
        try:
            counts = dict.fromkeys(self._series, 0)
            for queue in self._ledger.queues():
                key = _bounded(lane_of(queue), lanes), _bounded(model_of(queue), models)
                counts[key] = counts.get(key, 0) + self._ledger.waiting(queue)
            for key, count in sorted(counts.items()):
                waiting.add_metric(key, count)
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


def _bounded(label: str, known: set[str]) -> str:
    return label if label in known else _OTHER
