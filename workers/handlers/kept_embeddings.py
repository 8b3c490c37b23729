"""The embeddings of kept examples, beside them, by model and revision: to learn them anew embeds
nothing.

An array is found by the item that it belongs to, so that a missing one costs an embedding and never
gives a wrong one. They are deleted with the examples.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared import object_keys
from shared.classifier_record import Version
from shared.errors import ObjectMissing
from shared.ports import ObjectStore
from shared.types import Example, Item
from workers.models.port import Rows

_DIGEST_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class KeptEmbeddings:
    """The embeddings of the kept examples of a classifier."""

    store: ObjectStore
    account: str
    classifier_id: str

    def load(self, version: Version, key: str) -> dict[bytes, Rows]:
        """The embeddings (D,) of what a version has learnt, as far as they are kept, by item.

        Args:
            version: The version.
            key: Names the model and its revision: `embedding_key`.
        """
        found: dict[bytes, Rows] = {}
        for first, last in version.learnt:
            for number in range(first, last + 1):
                found |= self._read(number, key)
        return found

    def add(self, number: int, key: str, examples: Sequence[Example], x: Rows) -> None:
        """Keep the embeddings (N, D) of N examples beside those of a version."""
        rows = self._read(number, key)
        rows |= {item_digest(each.item): row for each, row in zip(examples, x, strict=True)}
        data = io.BytesIO()
        digests = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, _DIGEST_BYTES)
        np.savez(data, digests=digests, rows=np.stack(list(rows.values())))
        self.store.put(self._name(number, key), data.getvalue())

    def delete(self, number: int) -> None:
        """Delete the embeddings of the examples of a version."""
        prefix = object_keys.embeddings_of(self.account, self.classifier_id, number)
        for name in list(self.store.list(prefix)):
            self.store.delete(name)

    def _read(self, number: int, key: str) -> dict[bytes, Rows]:
        try:
            data = self.store.get(self._name(number, key)).data
        except ObjectMissing:
            return {}
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            digests, rows = arrays["digests"], arrays["rows"]
        return {digest.tobytes(): row for digest, row in zip(digests, rows, strict=True)}

    def _name(self, number: int, key: str) -> str:
        return f"{object_keys.embeddings_of(self.account, self.classifier_id, number)}{key}.npz"


def embedding_key(model: str, revision: str) -> str:
    """Names the model and the revision of embeddings, in the name of an object."""
    return hashlib.sha256(f"{model}@{revision}".encode()).hexdigest()[:16]


def item_digest(item: Item) -> bytes:
    """The digest of an item as a model sees it: another case is another item."""
    return hashlib.sha256(item.model_dump_json().encode()).digest()[:_DIGEST_BYTES]
