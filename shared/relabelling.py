"""Relabelling: the labels of a classifier after some are renamed, merged or removed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from shared.errors import FieldError, InvalidLabels, InvalidRequest, PigeonholeError
from shared.normal_form import LabelSpellings, normal_form
from shared.validation import inner

Changes = Mapping[str, str | None]
"""The new name of each label that changes; None removes the label and its examples."""

MIN_LABELS = 2
_SHOWN_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class Relabelling:
    """`place`: for each old label, its index in the new `labels`; None if it is removed.

    All changes apply at once, so that two labels can swap names. Labels that have the same name
    afterwards, by normal form, are merged, with the spelling of the first.
    """

    labels: tuple[str, ...]
    place: tuple[int | None, ...]
    changes: dict[str, str | None]  # old labels as the classifier spells them, to the new spelling

    @classmethod
    def of(cls, before: Sequence[str], changes: Changes) -> Self:
        """The effect of changes on the labels `before`.

        Raises:
            InvalidRequest: A change names an unknown label or one label twice, or nothing changes.
            InvalidLabels: Fewer than two labels would remain.

        >>> after = Relabelling.of(["bil", "spam", "billing"], {"bil": "billing", "spam": "junk"})
        >>> after.labels, after.place
        (('billing', 'junk'), (0, 1, 0))
        """
        own = LabelSpellings(before)
        new: dict[str, str | None] = {}
        for label, name in changes.items():
            known = own.get(label)
            if known is None:
                raise _refusal(
                    label, f"is not a label of the classifier; its labels are {_some(before)}"
                )
            if known in new:
                raise _refusal(label, "is given twice, in two spellings of one label")
            new[known] = name
        names = [new.get(label, label) for label in before]
        # A label that keeps its name keeps its spelling.
        spellings = LabelSpellings(label for label in before if label not in new)
        spelt = [None if name is None else spellings.add(name) for name in names]
        after = tuple(dict.fromkeys(name for name in spelt if name is not None))
        if len(after) < MIN_LABELS:
            raise _refusal(None, f"at least {MIN_LABELS} labels must remain", InvalidLabels)
        if after == tuple(before):
            raise _refusal(None, "changes nothing: each label keeps its name")
        index = {name: place for place, name in enumerate(after)}
        return cls(
            labels=after,
            place=tuple(None if name is None else index[name] for name in spelt),
            changes={label: spelt[own] for own, label in enumerate(before) if label in new},
        )


def renamed(label: str, changes: Changes) -> str | None:
    """What an example's label is called after the changes; None where the example goes.

    >>> renamed(" bil", {"bil": "billing"}), renamed("joy", {"bil": "billing"})
    ('billing', 'joy')
    """
    if label in changes:
        return changes[label]
    by_form = {normal_form(each): each for each in changes}
    known = by_form.get(normal_form(label))
    return label if known is None else changes[known]


def _some(labels: Sequence[str]) -> str:
    """Labels in words, up to ten of them."""
    named = ", ".join(repr(_shown(label)) for label in labels[:10])
    return named if len(labels) <= 10 else f"{named} and {len(labels) - 10} more"


def _shown(label: str) -> str:
    return label if len(label) <= _SHOWN_CHARS else label[: _SHOWN_CHARS - 1] + "…"


def _refusal(
    label: str | None, message: str, error: type[PigeonholeError] = InvalidRequest
) -> PigeonholeError:
    field = "labels" if label is None else inner("labels", label)
    return error(f"{field}: {message}", fields=(FieldError(field=field, message=message),))
