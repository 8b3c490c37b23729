from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidLabels, InvalidRequest
from shared.relabelling import Relabelling, renamed

LABELS = ("bil", "spam", "billing", "joy")


def test_names_change_and_the_order_stays():
    after = Relabelling.of(LABELS, {"spam": "junk"})

    assert (after.labels, after.place) == (("bil", "junk", "billing", "joy"), (0, 1, 2, 3))


def test_labels_with_one_name_become_one():
    after = Relabelling.of(LABELS, {"bil": "money", "billing": "money"})

    assert (after.labels, after.place) == (("money", "spam", "joy"), (0, 1, 0, 2))


def test_a_label_becomes_another_that_is_there_in_its_spelling():
    after = Relabelling.of(LABELS, {"bil": " billing\u200b"})

    assert (after.labels, after.place) == (("billing", "spam", "joy"), (0, 1, 0, 2))


def test_the_changes_are_told_in_the_spellings_that_labels_have():
    after = Relabelling.of(LABELS, {" bil": "billing\u200b", "spam": None, "joy": "fun"})

    assert after.changes == {"bil": "billing", "spam": None, "joy": "fun"}


def test_null_takes_a_label_away():
    assert Relabelling.of(LABELS, {"spam": None}).place == (0, None, 1, 2)


def test_all_changes_happen_at_once():
    after = Relabelling.of(LABELS, {"bil": "spam", "spam": "bil"})

    assert (after.labels, after.place) == (("spam", "bil", "billing", "joy"), (0, 1, 2, 3))


def test_a_label_may_get_another_spelling():
    assert Relabelling.of(("joy ", "fear"), {"joy": "joy"}).labels == ("joy", "fear")


def test_labels_that_differ_in_spelling_only_can_be_made_one():
    after = Relabelling.of(("joy", "joy ", "fear"), {"joy ": "joy"})

    assert (after.labels, after.place) == (("joy", "fear"), (0, 0, 1))


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"ham": "spam"}, "labels[ham]", "is not a label of the classifier"),
        ({"ham": None}, "labels[ham]", "'bil', 'spam', 'billing', 'joy'"),
        ({"joy": "a", "joy ": "b"}, "labels[joy ]", "is given twice"),
        ({"joy": "joy"}, "labels", "changes nothing"),
        ({}, "labels", "changes nothing"),
    ],
)
def test_refuses(changes: dict[str, str | None], field: str, says: str):
    with pytest.raises(InvalidRequest) as caught:
        Relabelling.of(LABELS, changes)

    assert caught.value.fields[0].field == field
    assert says in caught.value.fields[0].message


@pytest.mark.parametrize(
    "changes",
    [
        {"bil": None, "spam": None, "billing": None},
        {"bil": "joy", "spam": "joy", "billing": "joy"},
    ],
)
def test_two_labels_must_remain(changes: dict[str, str | None]):
    with pytest.raises(InvalidLabels, match="at least 2"):
        Relabelling.of(LABELS, changes)


@given(
    st.dictionaries(
        st.sampled_from(LABELS), st.none() | st.sampled_from((*LABELS, "new", "newer")), min_size=1
    )
)
def test_examples_get_the_label_that_their_label_becomes(changes: dict[str, str | None]):
    try:
        after = Relabelling.of(LABELS, changes)
    except (InvalidLabels, InvalidRequest):
        return

    for label, place in zip(LABELS, after.place, strict=True):
        assert renamed(label, changes) == (None if place is None else after.labels[place])
