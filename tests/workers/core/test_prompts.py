from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.errors import InvalidRequest
from workers.core.prompts import average, parse_template, prompts, readable

TEMPLATES = ("{label}", "This text is about {label}.")
words = st.text(min_size=1, max_size=20)


def test_each_label_has_one_prompt_per_template():
    made = prompts(["sports", "law"], TEMPLATES)

    assert made == (
        ("sports", "This text is about sports."),
        ("law", "This text is about law."),
    )


@pytest.mark.parametrize("template", ["I feel {label}!", "I feel {}!", "I feel LABEL!"])
def test_the_users_template_replaces_the_models(template):
    assert prompts(["joy"], TEMPLATES, template=template) == (("I feel joy!",),)


def test_a_braced_placeholder_wins_over_the_word():
    assert prompts(["joy"], TEMPLATES, template="LABEL {} {label}") == (("LABEL {} joy",),)


@pytest.mark.parametrize("template", ["", "about it", "LABELS", "{labels}", "label", "{ }"])
def test_a_template_without_placeholder_is_refused(template):
    with pytest.raises(InvalidRequest) as caught:
        prompts(["joy"], TEMPLATES, template=template)

    assert [field.field for field in caught.value.fields] == ["template"]


def test_a_description_joins_its_label_only():
    made = prompts(["joy", "fear"], ("{label}",), descriptions={"joy": " happy ", "fear": " "})

    assert made == (("joy: happy",), ("fear",))


def test_a_description_is_found_under_the_label_as_asked():
    assert prompts(["not_spam"], ("{label}",), descriptions={"not_spam": "a friend"}) == (
        ("not spam: a friend",),
    )


@given(st.lists(words, min_size=1, max_size=5))
def test_a_label_may_hold_braces_and_placeholders(labels):
    labels = [f"x {label} {{label}} {{}}" for label in labels]

    assert prompts(labels, ("<{label}>",)) == tuple((f"<{label}>",) for label in labels)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("card_arrival", "card arrival"),
        ("not-spam", "not spam"),
        ("topUpLimits", "top Up Limits"),
        ("LostOrStolenCard", "Lost Or Stolen Card"),
        ("__init__", "init"),
        ("___", "___"),
        ("YouTube", "YouTube"),
        ("macOS", "macOS"),
        ("iPhone", "iPhone"),
        ("HTTPServer", "HTTPServer"),
        ("18-24", "18-24"),
        ("pay_by top-up", "pay_by top-up"),
        ("", ""),
    ],
)
def test_an_identifier_is_read_as_words_and_a_name_is_not(label, said):
    assert readable(label) == said


@given(words)
def test_reading_twice_changes_nothing_and_never_empties_a_label(label):
    assert readable(readable(label)) == readable(label)
    assert readable(label)


@given(words.filter(lambda text: "{}" not in text))  # two places are refused
def test_a_parsed_template_parses_to_itself(text):
    parsed = parse_template(text + "{}")

    assert parse_template(parsed) == parsed


rows = arrays(np.float32, (6, 4), elements=st.floats(-1, 1, width=32))


@given(rows)
def test_averages_are_unit_length_or_zero_and_leave_the_input_alone(embeddings):
    before = embeddings.copy()

    mean = average(embeddings, per_label=3)

    length = np.linalg.norm(mean, axis=1)
    assert mean.shape == (2, 4)
    assert mean.dtype == np.float32
    assert np.all(np.isclose(length, 1, atol=1e-3) | (length < 1.001))
    assert np.array_equal(embeddings, before)


def test_prompts_that_cancel_out_give_zero_without_a_warning():
    opposite = np.array([[1, 0], [-1, 0]], np.float32)

    assert average(opposite, per_label=2).tolist() == [[0, 0]]


@given(rows)
def test_the_order_of_prompts_within_a_label_is_irrelevant(embeddings):
    swapped = embeddings.reshape(2, 3, 4)[:, ::-1].reshape(6, 4)
    mean = embeddings.reshape(2, 3, 4).mean(axis=1)
    ok = np.linalg.norm(mean, axis=1) > 0.01  # shorter sums are all rounding

    assert np.allclose(average(embeddings, 3)[ok], average(swapped, 3)[ok], atol=1e-3)
