"""A file in parts, several at once; each part that has arrived is written down."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

from pigeonhole_client import _http
from pigeonhole_client._async.transport import AsyncTransport
from pigeonhole_client._http import ApiCall, Form
from pigeonhole_client._tag_state import TagState
from pigeonhole_client.tagging import OnProgress, TagProgress

_AT_ONCE = 4


class AsyncUpload:
    """The upload of one input; `run` goes on with what the state says has arrived."""

    def __init__(
        self,
        transport: AsyncTransport,
        source: Path,
        state: TagState,
        place: Path,
        on_progress: OnProgress,
    ) -> None:
        self._transport = transport
        self._source = source
        self._state = state
        self._place = place
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._sent_now = 0
        # Parts arrive in several threads of the synchronous client. On an event loop the lock is
        # never waited for: nothing is awaited under it.
        self._noting = threading.Lock()

    async def run(self) -> str:
        """Send what has not arrived; the id of the file.

        Raises:
            NotFound, Conflict: The upload that was begun has expired or ended.
            BadRequest: The file was changed while it was sent.
        """
        state = self._state
        if not state.upload_id:
            state.upload_id = (await self._post("/v1/uploads", self._announcement()))["id"]
            state.save(self._place)
        count = -(-state.input.bytes // state.part_bytes)
        missing = [number for number in range(count) if str(number) not in state.parts]
        self._tell()
        await self._transport.runtime.map(self._send, missing, at_once=_AT_ONCE)
        md5 = await self._transport.runtime.run(_md5, self._source)
        body = {"part_ids": [state.parts[str(number)] for number in range(count)], "md5": md5}
        done = await self._post(f"/v1/uploads/{state.upload_id}/complete", body)
        file_id: str = done["file"]["id"]
        return file_id

    def _announcement(self) -> dict[str, Any]:
        return {
            "bytes": self._state.input.bytes,
            "filename": self._source.name,
            "purpose": "batch",
        }

    async def _send(self, number: int) -> None:
        state = self._state
        start = number * state.part_bytes
        data = await self._transport.runtime.run(_read, self._source, start, state.part_bytes)

        def form() -> Form:
            return {"data": ("part", data)}

        path = f"/v1/uploads/{state.upload_id}/parts"
        answer = await self._transport.send(ApiCall(method="POST", path=path, form=form))
        with self._noting:
            state.parts[str(number)] = _http.decoded(dict[str, Any], answer)["id"]
            state.save(self._place)
            self._sent_now += len(data)
            self._tell()

    def _tell(self) -> None:
        total, size = self._state.input.bytes, self._state.part_bytes
        done = min(total, len(self._state.parts) * size)
        spent = time.monotonic() - self._began
        rate = self._sent_now / spent if self._sent_now and spent > 0 else None
        left = (total - done) / rate if rate else None
        self._on_progress(
            TagProgress(
                phase="uploading", done=done, total=total, rate_per_s=rate, seconds_left=left
            )
        )

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._transport.send(ApiCall(method="POST", path=path, body=body))
        return _http.decoded(dict[str, Any], answer)


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
