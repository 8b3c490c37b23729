"""Closed labels: training refuses labels that a classifier does not have. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from shared.normal_form import LabelSpellings, normal_form
from shared.validation import refuse, shown

_MAX_NAMED = 10


def check_labels(
    given: Iterable[str | None], labels: Sequence[str], *, place: Callable[[int], str]
) -> None:
    """Refuse a label that is not one of `labels`.

    Args:
        given: The labels of examples; None where an example has none.
        labels: The labels of the classifier.
        place: Names the label of an example by its index, for the error.

    Raises:
        InvalidRequest: A label is not among them; names the first, and the label it resembles.
    """
    spellings = LabelSpellings(labels)
    for index, label in enumerate(given):
        if label is not None and spellings.get(label) is None:
            refuse(place(index), unknown(label, labels))


def unknown(label: str, labels: Sequence[str]) -> str:
    """Says that a classifier with closed labels does not have the label.

    >>> unknown("Joy", ["anger", "joy"])
    "'Joy' is not a label of the classifier, whose labels are closed; did you mean 'joy'?"
    """
    reason = f"{shown(label)!r} is not a label of the classifier, whose labels are closed; "
    by_form = {normal_form(each).casefold(): each for each in labels}
    near = difflib.get_close_matches(normal_form(label).casefold(), list(by_form), n=1)
    if near:
        return f"{reason}did you mean {shown(by_form[near[0]])!r}?"
    named = ", ".join(repr(shown(each)) for each in labels[:_MAX_NAMED])
    more = f" and {len(labels) - _MAX_NAMED} more" if len(labels) > _MAX_NAMED else ""
    return f"{reason}they are {named}{more}"
