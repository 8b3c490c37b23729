"""Which workers live and what they offer, as the ledger knows it, cached for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Literal

from shared.errors import BrokerUnavailable, FieldError, ModelNotFound, Unavailable
from shared.member_reports import MemberReport, WorkerReport
from shared.model_catalogue import ModelEntry
from shared.ports import Ledger
from shared.types import ClassifyRequest, revision_of_models

WORKER = "worker"
KEEPER = "keeper"
_PROBE = "probe"
ModelState = Literal["loaded", "cold", "loading", "failed"]
OFFER_KEPT_S = 600.0  # a worker that restarts or is replaced is expected back within this time


class WorkerRegistry:
    """The living workers and keepers. One look at the ledger serves all calls of `fresh_s`."""

    def __init__(self, ledger: Ledger, *, fresh_s: float = 1.0) -> None:
        self._ledger = ledger
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._workers: list[WorkerReport] = []
        self._failure: BrokerUnavailable | None = None
        self._offered_at: dict[str, float] = {}  # model name -> monotonic time of the last report
        self._read_at = float("-inf")

    def workers(self) -> list[WorkerReport]:
        """The living workers.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with self._lock:
            if time.monotonic() - self._read_at > self._fresh_s:
                self._failure = self._read()
                self._read_at = time.monotonic()
            if (failure := self._failure) is not None:
                # Anew for each caller: a traceback grows with every thread that raises it.
                raise type(failure)(failure.detail, retry_after_s=failure.retry_after_s)
            return self._workers

    def _read(self) -> BrokerUnavailable | None:
        """Read the ledger; a failure is remembered too, or else all who wait would try in turn.

        Where no worker has reported, it may be that Redis takes no reports: that is found out.
        """
        try:
            reports = self._ledger.reports(WORKER).values()
            if not reports:
                self._ledger.report(_PROBE, "writes", b"", ttl_s=1)
        except BrokerUnavailable as exc:
            return exc
        self._workers = [WorkerReport.model_validate_json(report) for report in reports]
        now = time.monotonic()
        self._offered_at |= {model: now for worker in self._workers for model in worker.models}
        return None

    def keepers(self) -> list[MemberReport]:
        """The living keepers."""
        reports = self._ledger.reports(KEEPER).values()
        return [MemberReport.model_validate_json(report) for report in reports]

    def offers(self, model: ModelEntry) -> bool:
        """Whether a living worker offers the model, or one did within `OFFER_KEPT_S`.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        workers = self.workers()
        offered_at = self._offered_at.get(model.name, float("-inf"))
        if any(model.name in worker.models for worker in workers):
            return True
        return time.monotonic() - offered_at < OFFER_KEPT_S

    def holds(self, models: Sequence[ModelEntry], *, lately: bool = False) -> bool:
        """Whether one living worker holds all of the models.

        With `lately`, also whether each of them was offered within `OFFER_KEPT_S`: a worker that
        restarts is expected back.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        names = {model.name for model in models}
        if any(names <= set(worker.models) for worker in self.workers()):
            return True
        return lately and all(map(self.offers, models))

    def load_s(self, models: Sequence[str]) -> float:
        """How long it takes until one living worker has all of the models in memory; 0: one has.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        waits = []
        for worker in self.workers():
            if set(models) <= set(worker.models):
                absent = {*worker.cold, *worker.loading}.intersection(models)
                waits.append(sum(worker.load_s.get(name, 1.0) for name in absent))
        return min(waits, default=0.0)

    def state_of(self, model: str) -> ModelState | None:
        """Whether a living worker has the model in memory; None if none holds it.

        `failed`: none that holds it could load it again.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        holders = [worker for worker in self.workers() if model in worker.models]
        if any(model not in (*worker.cold, *worker.loading) for worker in holders):
            return "loaded"
        if any(model in worker.loading for worker in holders):
            return "loading"
        if holders:
            return "failed" if all(model in worker.failed for worker in holders) else "cold"
        return None

    def waiting_for(self, model: ModelEntry) -> str | None:
        """What work for the model waits for; None if for no model, or if Redis does not answer."""
        try:
            self.device_for(model)
            state = self.state_of(model.name)
        except BrokerUnavailable:
            return None
        except (ModelNotFound, Unavailable):
            return f"a worker with the model {model.name}; none is running"
        if state == "failed":
            return f"the model {model.name}, which no worker can load into memory; each tries again"
        if state in {"cold", "loading"}:
            return f"the model {model.name}, which a worker loads into memory"
        return None

    def last_used(self, model: str) -> float | None:
        """When a living worker last used the model, in seconds since 1970.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        times = (worker.last_used.get(model) for worker in self.workers())
        return max((at for at in times if at is not None), default=None)

    def device_for(self, model: ModelEntry) -> str:
        """The device whose queues the model's work goes to.

        Raises:
            ModelNotFound: Workers of a fitting device live, and none of them offers the model nor
                has lately: to try again does not help.
            Unavailable: No worker of a fitting device lives, or the one that offers the model does
                not at the moment.
            BrokerUnavailable: Redis does not answer.
        """
        workers = self.workers()
        devices = {worker.device for worker in workers if model.name in worker.models}
        for device in model.devices:
            if device in devices:
                return device
        fitting = any(worker.device in model.devices for worker in workers)
        if fitting and not self.offers(model):
            message = (
                f"{model.name} is in the catalogue, but no running worker holds it. Get it with "
                f"'pigeonhole-server models pull {model.name}' and restart a worker, or name a "
                "model that is available: GET /v1/models"
            )
            raise ModelNotFound(
                f"model: {message}", fields=(FieldError(field="model", message=message),)
            )
        wanted = " or ".join(model.devices)
        raise Unavailable(
            f"no running {wanted} worker offers {model.name}; wait while one starts, have one "
            f"that holds it (pigeonhole-server models pull {model.name}), or see why none does "
            f"(pigeonhole-server models check {model.name})",
            retry_after_s=5,
        )

    def revision_of(self, request: ClassifyRequest) -> str | None:
        """The revision of the models of a request (`ClassifyResult.revision`).

        None while living workers have several revisions of one, or none has it.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        workers = self.workers()
        found: list[str] = []
        for name in request.models:
            revisions = {worker.revisions[name] for worker in workers if name in worker.revisions}
            if len(revisions) != 1:
                return None
            found += revisions
        return revision_of_models(found)

    def usual_device(self, model: ModelEntry) -> str:
        """As `device_for`, but a durable job may wait for a worker that does not live yet.

        Should it come up on another device, the keeper moves the job there.
        """
        try:
            return self.device_for(model)
        except (ModelNotFound, Unavailable):
            return model.devices[-1]
