"""Observations: sums over the items that a version of a classifier has classified.

No item can be read from them: counts, and the sum of the embeddings. The reference of a version has
the same sums, over what it was trained and judged on; `shared.drift` compares the two. Pure.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import Field

from shared.types import Value

BINS = 10
"""Bins of equal width of the score of the best label."""
UNCERTAIN_MARGIN = 0.1
"""An item is uncertain if its best label is less than this ahead of the second."""


class Observation(Value):
    """Sums over items.

    Attributes:
        labels: Number of items by predicted label; labels without items may be absent.
        confidence: Number of items by the score of their best label, ascending, (BINS,).
        uncertain: Number of uncertain items.
        total: The sum of the embeddings, (D,) as float32, little-endian, in Base64; empty: no item.
        squares: The sum of the squared lengths of the embeddings.
    """

    labels: dict[str, int] = Field(default_factory=dict)
    confidence: tuple[int, ...] = (0,) * BINS
    uncertain: int = 0
    total: str = ""
    squares: float = 0.0

    @property
    def items(self) -> int:
        """Number of items."""
        return sum(self.confidence)

    @property
    def vector(self) -> list[float]:
        """The sum of the embeddings, (D,)."""
        return unpacked(self.total)

    def relabelled(self, changes: Mapping[str, str | None]) -> Observation:
        """The same items under other labels; None removes a label, of whose items only the count
        of the label goes.

        >>> Observation(labels={"a": 2, "b": 1}).relabelled({"b": "a"}).labels
        {'a': 3}
        """
        labels: Counter[str] = Counter()
        for label, count in self.labels.items():
            after = changes.get(label, label)
            if after is not None:
                labels[after] += count
        return self.model_copy(update={"labels": dict(labels)})


class Reference(Value):
    """What a version is compared with: the examples that it has learnt, each predicted before it
    was learnt, and the holdout on which the run that made it judged it.
    """

    schema_number: int = 1
    trained: Observation = Observation()
    judged: Observation = Observation()

    @property
    def whole(self) -> Observation:
        """Both."""
        return merged((self.trained, self.judged))

    def relabelled(self, changes: Mapping[str, str | None]) -> Reference:
        """The same items under other labels."""
        return Reference(
            trained=self.trained.relabelled(changes), judged=self.judged.relabelled(changes)
        )


class DayObservations(Value):
    """What one worker process has counted of one version on a day (UTC), by hour."""

    schema_number: int = 1
    hours: dict[int, Observation] = Field(default_factory=dict)


def merged(observations: Iterable[Observation]) -> Observation:
    """The sums over all items; their embeddings have the same dimensions.

    >>> merged([Observation(labels={"a": 1}), Observation(labels={"a": 2}, uncertain=1)]).labels
    {'a': 3}
    """
    labels: Counter[str] = Counter()
    confidence = [0] * BINS
    uncertain, squares = 0, 0.0
    total: list[float] = []
    for each in observations:
        labels.update(each.labels)
        confidence = [a + b for a, b in zip(confidence, each.confidence, strict=True)]
        uncertain += each.uncertain
        squares += each.squares
        vector = each.vector
        if not total:
            total = vector
        elif vector:
            total = [a + b for a, b in zip(total, vector, strict=True)]
    return Observation(
        labels=dict(labels),
        confidence=tuple(confidence),
        uncertain=uncertain,
        total=packed(total),
        squares=squares,
    )


def packed(vector: Iterable[float]) -> str:
    """A vector as text.

    >>> unpacked(packed([1.0, -0.5]))
    [1.0, -0.5]
    """
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()


def unpacked(text: str) -> list[float]:
    """The vector that a text stands for."""
    numbers = array("f", b64decode(text))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
