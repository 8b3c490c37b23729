"""The labels of rows that a retraining keeps, by the names that the champion has for them.

An owner may rename, merge and remove labels (`relabel`). Rows that were collected before have the
old names: in the holdout they would count as wrong for every version, and a challenger would learn
them as new labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from shared.classifier_record import Classifier, Version
from shared.relabelling import renamed
from shared.retraining import FeedbackItem
from shared.types import Example
from workers.handlers.retrain.snapshot import NewRow, Snapshot


@dataclass(frozen=True, kw_only=True)
class LabelNames:
    """The names of a champion; `relabelled` are the versions before it that changed names."""

    champion: int
    relabelled: tuple[Version, ...]

    @classmethod
    def of(cls, record: Classifier, champion: Version) -> LabelNames:
        """Those of a version of a classifier."""
        return cls(champion=champion.number, relabelled=record.relabelled_before(champion))

    def of_snapshot(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot under these names; rows of a label that was removed are left out."""
        holdout = tuple(self._rows(snapshot.holdout))
        rejected = [(each, self._row(each.row)) for each in snapshot.rejected]
        return replace(
            snapshot,
            holdout=holdout,
            rejected=tuple(
                each.model_copy(update={"row": row}) for each, row in rejected if row is not None
            ),
            shortened=len(holdout) < len(snapshot.holdout),
        )

    def stamped(self, rows: Iterable[NewRow]) -> tuple[NewRow, ...]:
        """Rows of a source of this moment, whose labels have these names."""
        return tuple(row.model_copy(update={"named_as_in": self.champion}) for row in rows)

    def of_feedback(self, item: FeedbackItem) -> Example | None:
        """The example of feedback; None if its label was removed, or it has none."""
        since = [each for each in self.relabelled if each.created_at > item.created_at]
        return item.example and _under(item.example, since)

    def _rows(self, rows: Iterable[NewRow]) -> Iterable[NewRow]:
        return (row for row in map(self._row, rows) if row is not None)

    def _row(self, row: NewRow) -> NewRow | None:
        since = [each for each in self.relabelled if each.number > row.named_as_in]
        example = _under(row.example, since)
        if example is None:
            return None
        return row.model_copy(update={"example": example, "named_as_in": self.champion})


def _under(example: Example, relabelled: Sequence[Version]) -> Example | None:
    label: str | None = example.label
    for version in relabelled:
        if label is not None:
            label = renamed(label, version.relabelled)
    return None if label is None else example.model_copy(update={"label": label})
