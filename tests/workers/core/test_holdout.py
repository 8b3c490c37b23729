"""The holdout by content: the same content is on the same side whatever its case or spacing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.types import Item, Media
from workers.core.holdout import content_digest, is_held_out, row_digest

WORDS = st.lists(st.text("abcdé ßİ", min_size=1, max_size=8), min_size=1, max_size=5)


@given(WORDS, st.sampled_from([" ", "  ", "\t", "\n "]))
def test_spacing_and_case_change_nothing(words: list[str], space: str):
    plain = content_digest(Item(text=" ".join(words)))

    assert content_digest(Item(text=f" {space.join(words)} ")) == plain
    assert content_digest(Item(text=" ".join(words).casefold())) == plain


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_all_of_a_smaller_one(digest: bytes, one: float, two: float):
    small, large = sorted((one, two))

    assert not is_held_out(digest, small) or is_held_out(digest, large)
    assert not is_held_out(digest, 0.0)
    assert is_held_out(digest, 1.0)


def test_images_are_told_apart_by_what_they_are():
    one, two = (Item(images=(Media(url=f"https://x.org/{n}"),)) for n in "ab")

    assert content_digest(one) != content_digest(two)
    assert content_digest(one) == content_digest(one.model_copy())


def test_a_row_has_its_label():
    content = content_digest(Item(text="late"))

    assert row_digest(content, "delivery ") == row_digest(content, "delivery")
    assert row_digest(content, "Delivery") != row_digest(content, "delivery")
