# Made by generate_sync.py out of ../_async: change it there.
"""Jobs, classifiers, files and models of the account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pigeonhole_client import _http
from pigeonhole_client._http import ApiCall, Form
from pigeonhole_client._requests import PathLike, given
from pigeonhole_client._sync.transport import Transport
from pigeonhole_client.drift import Drift
from pigeonhole_client.errors import ConnectionFailed, Error, JobFailed, RateLimited, ServerError
from pigeonhole_client.types import (
    Batch,
    Classifier,
    ClassifierDetail,
    File,
    Job,
    Model,
    Page,
    Training,
    Version,
)

T = TypeVar("T")
Ending = TypeVar("Ending", Job, Batch)
ClassifierList = list[Classifier]  # inside the classes `list` is a method
VersionList = list[Version]
ModelList = list[Model]
_PAGE = 100
_LOOK_AGAIN_S = 1.0


class Resource:
    """Calls about objects of one kind."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _get(self, kind: type[T], path: str) -> T:
        return _http.decoded(kind, self._transport.send(ApiCall(method="GET", path=path)))

    def _post(self, kind: type[T], path: str, body: Any = None, *, key: str = "") -> T:
        call = ApiCall(method="POST", path=path, body=body, key=key or _http.new_key())
        return _http.decoded(kind, self._transport.send(call))

    def _follow(self, kind: type[Ending], path: str) -> Iterator[Ending]:
        """An object now, and whenever it changes, up to its end.

        Its events are a stream that may be refused or cut off; a look at the object itself then
        waits for the service.
        """
        seen = ""
        while True:
            last: Ending | None = None
            try:
                for event in self._transport.patient(0).events(f"{path}/events", after=seen):
                    seen = event.id
                    last = _http.decoded(kind, event.data)
                    yield last
            except (ConnectionFailed, RateLimited, ServerError):
                self._transport.runtime.sleep(_LOOK_AGAIN_S)
            if last is None or not last.ended:
                last = self._get(kind, path)
                yield last
            if last.ended:
                return
            self._transport.runtime.sleep(_LOOK_AGAIN_S)

    def _pages(self, kind: type[T], path: str, limit: int | None) -> Iterator[T]:
        """The objects of a list, page by page; at most `limit`."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            call = ApiCall(method="GET", path=path, params={"limit": size, "after": after})
            page = _http.decoded(Page[kind], self._transport.send(call))  # type: ignore[valid-type]
            for each in page.data:
                yield each
            left = None if left is None else left - len(page.data)
            after = page.last_id
            if not page.has_more or not after:
                return


class Jobs(Resource):
    """Durable jobs: what trains, evaluates and runs batches."""

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._get(Job, f"/v1/jobs/{segment(job_id)}")

    def list(self, limit: int | None = None) -> Iterator[Job]:
        """Jobs of the account, newest first; all of them unless a limit is given."""
        return self._pages(Job, "/v1/jobs", limit)

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job now, and whenever it changes, up to its end."""
        return self._follow(Job, f"/v1/jobs/{segment(job_id)}")

    def wait(self, job_id: str) -> Job:
        """The job once it has ended, with its result.

        Raises:
            JobFailed: It failed, was cancelled or has expired.
        """
        last: Job | None = None
        for job in self.follow(job_id):
            last = job
        if last is None or last.status != "succeeded":
            raise JobFailed(last or self.get(job_id))
        return last

    def result(self, job_id: str) -> dict[str, Any]:
        """The result of a job that has succeeded, whatever its size."""
        return self._get(dict[str, Any], f"/v1/jobs/{segment(job_id)}/result")

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that waits or runs."""
        call = ApiCall(method="DELETE", path=f"/v1/jobs/{segment(job_id)}")
        return _http.decoded(Job, self._transport.send(call))

    def outcome(self, kind: type[T], call: ApiCall) -> T:
        """The result of a call that is a job: submitted, waited for, and read as a record.

        A service that restarts meanwhile is waited out: the job survives it.
        """
        job = self.wait(_http.decoded(Job, self._transport.send(call)).id)
        return _http.decoded(
            kind,
            self._transport.send(ApiCall(method="GET", path=f"/v1/jobs/{job.id}/result")),
        )


class Classifiers(Resource):
    """Classifiers of the account. `ref`: an id, a name, `name@v3` or `name@alias`."""

    def list(self) -> ClassifierList:
        """All of them, newest first."""
        return self._get(list[Classifier], "/v1/classifiers")

    def get(self, ref: str) -> ClassifierDetail:
        """One of them, with its labels and metrics."""
        return self._get(ClassifierDetail, f"/v1/classifiers/{segment(ref)}")

    def versions(self, ref: str) -> VersionList:
        """The versions that are kept, newest first."""
        page = self._get(Page[Version], f"/v1/classifiers/{segment(ref)}/versions")
        return page.data

    def update(
        self,
        ref: str,
        *,
        name: str | None = None,
        description: str | None = None,
        access: str | None = None,
        keep_examples: bool | None = None,
        observe: bool | None = None,
        aliases: dict[str, int | None] | None = None,
    ) -> ClassifierDetail:
        """Change what is given; an alias that is None is taken away."""
        body = given(
            name=name,
            description=description,
            access=access,
            keep_examples=keep_examples,
            observe=observe,
            aliases=aliases,
        )
        call = ApiCall(method="PATCH", path=f"/v1/classifiers/{segment(ref)}", body=body)
        return _http.decoded(ClassifierDetail, self._transport.send(call))

    def drift(self, ref: str, *, window: str | None = None) -> Drift:
        """Whether what a version classifies has changed, over a window such as `24h` or `7d`."""
        path = f"/v1/classifiers/{segment(ref)}/drift"
        call = ApiCall(method="GET", path=path, params={"window": window})
        return _http.decoded(Drift, self._transport.send(call))

    def rollback(
        self, ref: str, *, version: int | None = None, alias: str | None = None
    ) -> ClassifierDetail:
        """Make an old version the latest, as a new version."""
        body = given(version=version, alias=alias)
        return self._post(ClassifierDetail, f"/v1/classifiers/{segment(ref)}/rollback", body)

    def rebuild(self, ref: str, *, model: str) -> Training:
        """Learn the kept examples anew with another model."""
        call = ApiCall(
            method="POST",
            path=f"/v1/classifiers/{segment(ref)}/rebuild",
            body={"model": model},
            headers={"Prefer": "respond-async"},
            key=_http.new_key(),
        )
        return Jobs(self._transport).outcome(Training, call)

    def delete(self, ref: str) -> None:
        """Delete it, with all its versions."""
        self._transport.send(ApiCall(method="DELETE", path=f"/v1/classifiers/{segment(ref)}"))


class Files(Resource):
    """Files on the service."""

    def get(self, file_id: str) -> File:
        """What is known of one file."""
        return self._get(File, f"/v1/files/{segment(file_id)}")

    def list(self, limit: int | None = None) -> Iterator[File]:
        """Files of the account, newest first; all of them unless a limit is given."""
        return self._pages(File, "/v1/files", limit)

    def upload(self, path: PathLike, *, purpose: str = "batch") -> File:
        """Send a file in one request; `purpose`: `batch`, `user_data` or `vision`."""
        source = Path(path)
        content = self._transport.runtime.run(source.read_bytes)

        def form() -> Form:
            return {"file": (source.name, content)}

        call = ApiCall(
            method="POST",
            path="/v1/files",
            fields={"purpose": purpose},
            form=form,
            key=_http.new_key(),
        )
        return _http.decoded(File, self._transport.send(call))

    def download(self, file_id: str, path: PathLike) -> Path:
        """Write the content of a file to a path, whole or not at all; the path.

        What has come when the connection or the client breaks stays in a hidden file beside the
        path, and the next attempt, or the same call, asks for the rest.
        """
        target = Path(path)
        begun = target.with_name(f".{target.name}.{file_id}.part")
        attempts: _http.Attempts | None = None
        while True:
            had = _size(begun)
            try:
                self._append(file_id, begun, had)
                break
            except ConnectionFailed as exc:
                if attempts is None or _size(begun) > had:  # it goes on: patience begins anew
                    attempts = self._transport.attempts(_content(file_id, had))
                self._transport.waited(attempts, exc)
        begun.replace(target)
        return target

    def _append(self, file_id: str, begun: Path, had: int) -> None:
        """Add to the `had` bytes of a file what is missing."""
        if had and had == (self.get(file_id)).bytes:  # killed before it was renamed
            return
        with self._transport.stream(_content(file_id, had)) as response:
            mode = "ab" if response.status_code == HTTPStatus.PARTIAL_CONTENT else "wb"
            with begun.open(mode) as file:
                for piece in response.iter_raw():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        self._transport.send(ApiCall(method="DELETE", path=f"/v1/files/{segment(file_id)}"))


class Models(Resource):
    """Models of the service."""

    def list(self) -> ModelList:
        """All of the catalogue, with those that a running worker holds marked `available`."""
        return (self._get(Page[Model], "/v1/models")).data


def segment(text: str) -> str:
    """A name as a segment of a path.

    Raises:
        Error: It is empty: the path would be another one.
    """
    if not text:
        raise Error("an id or a name is empty")
    return quote(text, safe="@")


def _content(file_id: str, had: int) -> ApiCall:
    """The call for the bytes of a file from a place on, as they are."""
    headers = {"Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    return ApiCall(method="GET", path=f"/v1/files/{segment(file_id)}/content", headers=headers)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
