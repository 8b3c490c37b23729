# Made by generate_sync.py out of ../_async: change it there.
"""Retraining of classifiers, and feedback on what they predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pigeonhole_client import _http
from pigeonhole_client._http import ApiCall
from pigeonhole_client._sync.resources import Jobs, Resource, segment
from pigeonhole_client.types import DailyAccuracy, Job, RetrainingRun, RetrainingSettings


class Retraining(Resource):
    """Retraining of the classifier `ref`: its id or name."""

    def get(self, ref: str) -> RetrainingSettings:
        """The settings, and the next tick of the schedule."""
        return self._get(RetrainingSettings, _path(ref))

    def put(self, ref: str, **settings: Any) -> RetrainingSettings:
        """Set when and how it is retrained; the fields are those of the API."""
        return self._send("PUT", _path(ref), settings)

    def update(self, ref: str, **settings: Any) -> RetrainingSettings:
        """Change some settings."""
        return self._send("PATCH", _path(ref), settings)

    def delete(self, ref: str) -> None:
        """Delete the retraining with its runs; the versions stay."""
        self._transport.send(ApiCall(method="DELETE", path=_path(ref)))

    def add_file(self, ref: str, file_id: str) -> RetrainingSettings:
        """Add an uploaded file of examples as a source."""
        return self._post(RetrainingSettings, f"{_path(ref)}/sources", {"file_id": file_id})

    def start(self, ref: str, *, dry_run: bool = False) -> Job:
        """Start a run now; its job."""
        return self._post(Job, f"{_path(ref)}/runs", {"dry_run": dry_run})

    def wait(self, ref: str, job_id: str) -> RetrainingRun:
        """The run of a job once it has ended.

        Raises:
            JobFailed: It failed, was cancelled or has expired.
        """
        job = Jobs(self._transport).wait(job_id)
        return self.run(ref, job.id.replace("job_", "run_", 1))

    def run(self, ref: str, run_id: str) -> RetrainingRun:
        """One run, with its decision and the reasons."""
        return self._get(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}")

    def report(self, ref: str, run_id: str) -> str:
        """The report of a run: one HTML page that needs nothing else."""
        path = f"{_path(ref)}/runs/{segment(run_id)}/report"
        call = ApiCall(method="GET", path=path, headers={"Accept": "text/html"})
        return (self._transport.send(call)).decode()

    def runs(self, ref: str, limit: int | None = None) -> Iterator[RetrainingRun]:
        """The runs, newest first."""
        return self._pages(RetrainingRun, f"{_path(ref)}/runs", limit)

    def promote(self, ref: str, run_id: str) -> RetrainingRun:
        """Promote the challenger of a run that waits."""
        return self._post(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}/promote")

    def reject(self, ref: str, run_id: str) -> RetrainingRun:
        """Reject the challenger of a run that waits."""
        return self._post(RetrainingRun, f"{_path(ref)}/runs/{segment(run_id)}/reject")

    def rollback(self, ref: str) -> int:
        """Move the alias back to the version before the last promotion; that version."""
        found = self._post(dict[str, Any], f"{_path(ref)}/rollback")
        return int(found["version"])

    def feedback(self, ref: str, items: Iterable[dict[str, Any]]) -> list[str]:
        """Tell the true labels of items, such as `{"input": "…", "label": "…"}`; their ids."""
        path = f"/v1/classifiers/{segment(ref)}/feedback"
        found = self._post(dict[str, Any], path, {"items": list(items)})
        return [str(each) for each in found["ids"]]

    def accuracy(self, ref: str) -> list[DailyAccuracy]:
        """The live accuracy by version and day, from feedback."""
        path = f"/v1/classifiers/{segment(ref)}/feedback/accuracy"
        return [each for each in self._pages(DailyAccuracy, path, None)]

    def _send(self, method: str, path: str, body: dict[str, Any]) -> RetrainingSettings:
        call = ApiCall(method=method, path=path, body=body)
        return _http.decoded(RetrainingSettings, self._transport.send(call))


def _path(ref: str) -> str:
    return f"/v1/classifiers/{segment(ref)}/retraining"
