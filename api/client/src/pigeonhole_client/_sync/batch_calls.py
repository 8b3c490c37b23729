# Made by generate_sync.py out of ../_async: change it there.
"""The calls about batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pigeonhole_client._sync.resources import Resource, segment
from pigeonhole_client.types import Batch


class BatchCalls(Resource):
    """Batches of the account."""

    def create(self, body: dict[str, Any], *, key: str = "") -> Batch:
        """A batch of a file that is on the service; `key` is an `Idempotency-Key`."""
        return self._post(Batch, "/v1/batches", body, key=key)

    def get(self, batch_id: str) -> Batch:
        """One batch."""
        return self._get(Batch, f"/v1/batches/{segment(batch_id)}")

    def list(self, limit: int | None = None) -> Iterator[Batch]:
        """Batches of the account, newest first; all of them unless a limit is given."""
        return self._pages(Batch, "/v1/batches", limit)

    def cancel(self, batch_id: str) -> Batch:
        """End a batch; what is finished is kept."""
        return self._post(Batch, f"/v1/batches/{segment(batch_id)}/cancel")

    def retry(self, batch_id: str, *, rows: str | None = None) -> Batch:
        """A batch of the rows that did not come out of one that has ended.

        `rows`: `all` for also those that failed for a reason that a retry does not cure.
        """
        path = f"/v1/batches/{segment(batch_id)}/retry"
        return self._post(Batch, path, None if rows is None else {"rows": rows})

    def follow(self, batch_id: str) -> Iterator[Batch]:
        """The batch now, and whenever it changes, up to its end."""
        return self._follow(Batch, f"/v1/batches/{segment(batch_id)}")

    def wait(self, batch_id: str) -> Batch:
        """The batch once it has ended, however it did."""
        batch: Batch | None = None
        for each in self.follow(batch_id):
            batch = each
        return batch or self.get(batch_id)
