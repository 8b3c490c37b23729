"""Retraining of classifiers, and feedback on what they predicted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from pigeonhole_client import _http
from pigeonhole_client._async.resources import AsyncJobs, AsyncResource, segment
from pigeonhole_client._http import ApiCall
from pigeonhole_client.types import DailyAccuracy, Job, RetrainingRun, RetrainingSettings


class AsyncRetraining(AsyncResource):
    """Retraining of the classifier `ref`: its id or name."""

    async def get(self, ref: str) -> RetrainingSettings:
        """The settings, and the next tick of the schedule."""
        return await self._get(RetrainingSettings, _path(ref))

    async def put(self, ref: str, **settings: Any) -> RetrainingSettings:
        """Set when and how it is retrained; the fields are those of the API."""
        return await self._send("PUT", _path(ref), settings)

    async def update(self, ref: str, **settings: Any) -> RetrainingSettings:
        """Change some settings."""
        return await self._send("PATCH", _path(ref), settings)

    async def delete(self, ref: str) -> None:
        """Delete the retraining with its runs; the versions stay."""
        await self._transport.send(ApiCall(method="DELETE", path=_path(ref)))

    async def add_file(self, ref: str, file_id: str) -> RetrainingSettings:
        """Add an uploaded file of examples as a source."""
        return await self._post(RetrainingSettings, f"{_path(ref)}/sources", {"file_id": file_id})

    async def start(self, ref: str, *, dry_run: bool = False) -> Job:
        """Start a run now; its job."""
        return await self._post(Job, f"{_path(ref)}/runs", {"dry_run": dry_run})

    async def wait(self, ref: str, job_id: str) -> RetrainingRun:
        """The run of a job once it has ended.

        Raises:
            JobFailed: It failed, was cancelled or has expired.
        """
        job = await AsyncJobs(self._transport).wait(job_id)
        return await self.run(ref, job.id.replace("job_", "run_", 1))

    async def run(self, ref: str, run_id: str) -> RetrainingRun:
        """One run, with its decision and the reasons."""
        return await self._get(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}")

    async def report(self, ref: str, run_id: str) -> str:
        """The report of a run: one HTML page that needs nothing else."""
        path = f"{_path(ref)}/runs/{segment(run_id)}/report"
        call = ApiCall(method="GET", path=path, headers={"Accept": "text/html"})
        return (await self._transport.send(call)).decode()

    def runs(self, ref: str, limit: int | None = None) -> AsyncIterator[RetrainingRun]:
        """The runs, newest first."""
        return self._pages(RetrainingRun, f"{_path(ref)}/runs", limit)

    async def promote(self, ref: str, run_id: str) -> RetrainingRun:
        """Promote the challenger of a run that waits."""
        return await self._post(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}/promote")

    async def reject(self, ref: str, run_id: str) -> RetrainingRun:
        """Reject the challenger of a run that waits."""
        return await self._post(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}/reject")

    async def rollback(self, ref: str) -> int:
        """Move the alias back to the version before the last promotion; that version."""
        found = await self._post(dict[str, Any], f"{_path(ref)}/rollback")
        return int(found["version"])

    async def feedback(self, ref: str, items: Iterable[dict[str, Any]]) -> list[str]:
        """Tell the true labels of items, such as `{"input": "…", "label": "…"}`; their ids."""
        path = f"/v1/classifiers/{segment(ref)}/feedback"
        found = await self._post(dict[str, Any], path, {"items": list(items)})
        return [str(each) for each in found["ids"]]

    async def accuracy(self, ref: str) -> list[DailyAccuracy]:
        """The live accuracy by version and day, from feedback."""
        path = f"/v1/classifiers/{segment(ref)}/feedback/accuracy"
        return [each async for each in self._pages(DailyAccuracy, path, None)]

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> RetrainingSettings:
        call = ApiCall(method=method, path=path, body=body)
        return _http.decoded(RetrainingSettings, await self._transport.send(call))


def _path(ref: str) -> str:
    return f"/v1/classifiers/{segment(ref)}/retraining"
