"""When labels are equal, and when a text is empty."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.normal_form import LabelSpellings, is_empty, normal_form


@pytest.mark.parametrize(
    "spelling",
    [
        "late delivery ",
        "\tlate  delivery\n",
        "late\u00a0delivery",
        "late\u3000delivery\u2003",
        "\ufefflate delivery",
        "late de\u00adlivery",
        "late\u200b delivery\u2060",
        "late delivery\x00",
        "\u202alate delivery\u202c",
        "late delivery\u200d",
    ],
)
def test_spaces_and_invisible_characters_make_no_other_label(spelling: str):
    assert normal_form(spelling) == "late delivery"


def test_composed_and_decomposed_letters_are_equal():
    assert normal_form(unicodedata.normalize("NFD", "Überfällig")) == "Überfällig"


def test_an_emoji_with_and_without_variation_selector_is_one_label():
    assert normal_form("\u2764\ufe0f") == normal_form("\u2764")


@pytest.mark.parametrize(("one", "other"), [("joy", "Joy"), ("co2", "co₂"), ("a b", "ab")])
def test_what_can_be_told_apart_stays_apart(one: str, other: str):
    assert normal_form(one) != normal_form(other)


def test_joiners_stay_inside_of_words_and_emoji():
    family = "👩\u200d👧"
    assert normal_form(family) == family != normal_form("👩👧")


@given(st.text())
def test_the_normal_form_is_its_own(text: str):
    assert normal_form(normal_form(text)) == normal_form(text)


@pytest.mark.parametrize(
    "text",
    [
        "\ufffd\ufffd",
        "\U000e0fff",
        "\ufffe",
        "",
        " \n\t",
        "\u200b",
        "\ufeff",
        "\u00ad\u2060",
        "\x00",
        "\u3164",
        "\u0301",
        "\ue000",
        "\x7f",
    ],
)
def test_a_text_without_visible_characters_is_empty(text: str):
    assert is_empty(text)


@pytest.mark.parametrize("text", ["a", "?", "🙂", "\u200bfine", "。", "0", "a\ufffd", "漢"])
def test_a_text_with_one_visible_character_is_not_empty(text: str):
    assert not is_empty(text)


@pytest.mark.parametrize("emoji", ["\U0001fae9", "\U0001f6d8", "\U0001fa8e"])
def test_an_emoji_later_than_the_unicode_of_python_is_visible(emoji: str):
    assert not is_empty(emoji)
    assert normal_form(f" {emoji}") == emoji


def test_labels_known_to_be_distinct_stay_so():
    spellings = LabelSpellings(["billing ", "billing"])

    assert [spellings.add(each) for each in ("billing", "billing ", "billing\u00a0")] == [
        "billing",
        "billing ",
        "billing ",
    ]
    assert list(spellings) == ["billing ", "billing"]
