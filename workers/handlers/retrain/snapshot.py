"""The snapshot of a run: what was consumed so far, the holdout, and the rows of rejected nights.

A run writes its snapshot whole and then moves the state to it, so that one that is killed changes
nothing for the next. Objects of a snapshot lie beside the record of its run.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from shared import retraining_keys
from shared.errors import ObjectMissing
from shared.ports import ObjectStore
from shared.types import Example, Value
from workers.core.holdout import DIGEST_BYTES
from workers.models.port import Rows

MAX_REJECTIONS = 3
_CONSUMED, _HOLDOUT, _REJECTED, _SET_ASIDE = (
    "consumed.bin", "holdout.jsonl", "rejected.jsonl", "set_aside.jsonl",
)  # fmt: skip


class NewRow(Value):
    """A new example with its place in its source; `digest` is that of its content, in hex.

    Its label has the name that it has in the version `named_as_in`; rows of earlier releases say 0.
    """

    example: Example
    place: str
    digest: str
    named_as_in: int = 0


class RejectedRow(Value):
    """A row of a challenger that was rejected.

    With `waiting`, it is a row of the challenger of that run, of the number `version`, which is not
    decided, or which is live and may be rolled back. Earlier releases wrote no `version`.
    """

    row: NewRow
    rejections: int = 0
    waiting: str | None = None
    version: int | None = None


_V = TypeVar("_V", bound=Value)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What all runs together have done.

    `consumed`: digests of sources and of rows. `vectors`: embeddings of the holdout, by model.
    `shortened`: rows of the holdout were left out, so that kept embeddings are not those of it.
    """

    consumed: frozenset[bytes] = frozenset()
    holdout: tuple[NewRow, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    set_aside: tuple[NewRow, ...] = ()
    vectors: dict[str, Rows] = field(default_factory=dict)  # of the holdout (N, D)
    shortened: bool = False


@dataclass(frozen=True, kw_only=True)
class SnapshotStore:
    """The snapshots of the runs of a classifier."""

    store: ObjectStore
    account: str
    classifier_id: str

    def load(self, run_id: str | None) -> Snapshot:
        """The snapshot of a run; empty for None."""
        if run_id is None:
            return Snapshot()
        consumed = self.store.get(self._name(run_id, _CONSUMED)).data
        return Snapshot(
            consumed=frozenset(
                consumed[i : i + DIGEST_BYTES] for i in range(0, len(consumed), DIGEST_BYTES)
            ),
            holdout=self._read(run_id, _HOLDOUT, NewRow),
            rejected=self._read(run_id, _REJECTED, RejectedRow),
            set_aside=self._read(run_id, _SET_ASIDE, NewRow),
        )

    def save(self, run_id: str, snapshot: Snapshot) -> None:
        """Write the snapshot of a run."""
        self.store.put(self._name(run_id, _CONSUMED), b"".join(sorted(snapshot.consumed)))
        self._write(run_id, _HOLDOUT, snapshot.holdout)
        self._write(run_id, _REJECTED, snapshot.rejected)
        self._write(run_id, _SET_ASIDE, snapshot.set_aside)
        for key, rows in snapshot.vectors.items():
            data = io.BytesIO()
            np.save(data, rows, allow_pickle=False)
            self.store.put(self._name(run_id, _vectors(key)), data.getvalue())

    def vectors(self, run_id: str | None, key: str) -> Rows | None:
        """The embeddings of the holdout of a snapshot (N, D), if kept; `key` names the model."""
        if run_id is None:
            return None
        try:
            data = self.store.get(self._name(run_id, _vectors(key))).data
        except ObjectMissing:
            return None
        rows: Rows = np.load(io.BytesIO(data), allow_pickle=False)
        return rows

    def delete(self, run_id: str) -> None:
        """Delete the snapshot of a run that another one has replaced; its report stays."""
        kept = {
            retraining_keys.run(self.account, self.classifier_id, run_id),
            retraining_keys.run_comparison(self.account, self.classifier_id, run_id),
        }
        prefix = retraining_keys.run_prefix(self.account, self.classifier_id, run_id)
        for name in list(self.store.list(prefix)):
            if name not in kept:
                self.store.delete(name)

    def _name(self, run_id: str, file: str) -> str:
        return retraining_keys.run_file(self.account, self.classifier_id, run_id, file)

    def _read(self, run_id: str, file: str, kind: type[_V]) -> tuple[_V, ...]:
        lines = self.store.get(self._name(run_id, file)).data.splitlines()
        return tuple(kind.model_validate_json(line) for line in lines)

    def _write(self, run_id: str, file: str, rows: Iterable[Value]) -> None:
        lines = "".join(f"{row.model_dump_json()}\n" for row in rows)
        self.store.put(self._name(run_id, file), lines.encode())


def _vectors(key: str) -> str:
    return f"holdout-{key}.npy"
