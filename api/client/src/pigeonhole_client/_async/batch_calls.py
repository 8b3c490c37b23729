"""The calls about batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pigeonhole_client._async.resources import AsyncResource, segment
from pigeonhole_client.types import Batch


class AsyncBatchCalls(AsyncResource):
    """Batches of the account."""

    async def create(self, body: dict[str, Any], *, key: str = "") -> Batch:
        """A batch of a file that is on the service; `key` is an `Idempotency-Key`."""
        return await self._post(Batch, "/v1/batches", body, key=key)

    async def get(self, batch_id: str) -> Batch:
        """One batch."""
        return await self._get(Batch, f"/v1/batches/{segment(batch_id)}")

    def list(self, limit: int | None = None) -> AsyncIterator[Batch]:
        """Batches of the account, newest first; all of them unless a limit is given."""
        return self._pages(Batch, "/v1/batches", limit)

    async def cancel(self, batch_id: str) -> Batch:
        """End a batch; what is finished is kept."""
        return await self._post(Batch, f"/v1/batches/{segment(batch_id)}/cancel")

    async def retry(self, batch_id: str, *, rows: str | None = None) -> Batch:
        """A batch of the rows that did not come out of one that has ended.

        `rows`: `all` for also those that failed for a reason that a retry does not cure.
        """
        path = f"/v1/batches/{segment(batch_id)}/retry"
        return await self._post(Batch, path, None if rows is None else {"rows": rows})

    def follow(self, batch_id: str) -> AsyncIterator[Batch]:
        """The batch now, and whenever it changes, up to its end."""
        return self._follow(Batch, f"/v1/batches/{segment(batch_id)}")

    async def wait(self, batch_id: str) -> Batch:
        """The batch once it has ended, however it did."""
        batch: Batch | None = None
        async for each in self.follow(batch_id):
            batch = each
        return batch or await self.get(batch_id)
