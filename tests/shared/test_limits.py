from __future__ import annotations

import pytest

from shared.errors import (
    InvalidLabels,
    InvalidRequest,
    LabelLimitExceeded,
    PigeonholeError,
    TokenLimitExceeded,
)
from shared.limits import Limits
from shared.types import ClassifyRequest, Item, Question

LIMITS = Limits(
    max_inputs=3,
    max_labels=3,
    max_groups=2,
    max_label_chars=5,
    max_description_chars=10,
    max_label_examples=4,
)


def a_request(**changes: object) -> ClassifyRequest:
    request = ClassifyRequest(
        model="tiny",
        items=(Item(text="a"),),
        questions=(Question(labels=("red", "green")),),
    )
    return request.model_copy(update=changes)


def questions(*labels: str) -> tuple[Question, ...]:
    return (Question(labels=labels),)


def test_a_request_at_every_limit_passes():
    LIMITS.check(
        a_request(
            items=(Item(text="a"),) * 3,
            questions=(
                Question(group="one", labels=("a" * 5, "b", "c")),
                Question(group="two", labels=("a", "b")),
            ),
            template="x" * 10,
        )
    )


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"items": ()}, InvalidRequest, "input"),
        ({"items": (Item(text="a"),) * 4}, InvalidRequest, "input[3]"),
        ({"items": (Item(text="a"), Item(text=" \n"))}, InvalidRequest, "input[1].text"),
        ({"questions": questions("red")}, InvalidLabels, "labels"),
        ({"questions": questions(*"abcd")}, LabelLimitExceeded, "labels"),
        ({"questions": questions("a") * 3}, LabelLimitExceeded, "labels"),
        ({"questions": questions("red", " ")}, InvalidRequest, "labels[1]"),
        ({"questions": questions("red", "x" * 6)}, InvalidRequest, "labels[1]"),
        ({"questions": (Question(group=" ", labels=("a", "b")),)}, InvalidRequest, "labels[ ]"),
        (
            {"questions": (Question(group="x" * 6, labels=("a", "b")),)},
            InvalidRequest,
            "labels[xxxxxx]",
        ),
        (
            {"questions": tuple(Question(group=g, labels=("a", "b")) for g in ("m", "m\u00a0"))},
            InvalidRequest,
            "labels[m\u00a0]",
        ),
        ({"descriptions": {"red": "x" * 11}}, InvalidRequest, "descriptions[red]"),
        ({"examples": {"red": ("x" * 11,)}}, InvalidRequest, "examples[red][0]"),
        ({"examples": {"red": ("x", " ")}}, InvalidRequest, "examples[red][1]"),
        ({"examples": {"red": ()}}, InvalidRequest, "examples[red]"),
        ({"examples": {"red": ("x",) * 3, "green": ("y",) * 2}}, InvalidRequest, "examples"),
        ({"template": "x" * 11}, InvalidRequest, "template"),
        ({"top_k": 0}, InvalidRequest, "top_k"),
    ],
)
def test_each_limit_names_the_place(changes, error: type[PigeonholeError], field: str):
    with pytest.raises(error) as caught:
        LIMITS.check(a_request(**changes))

    assert type(caught.value) is error
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize("name", ["\u200b", "x" * 6])
def test_a_new_name_of_a_label_is_named_by_the_old_one(name: str):
    with pytest.raises(InvalidRequest) as caught:
        LIMITS.check_new_names({"old": name, "other": None})

    assert caught.value.fields[0].field == "labels[old]"


def test_a_text_far_beyond_the_tokens_is_refused_before_it_is_tokenised():
    with pytest.raises(TokenLimitExceeded, match=r"input\[1\].*far beyond 8192 tokens"):
        LIMITS.check(a_request(items=(Item(text="a"), Item(text="b" * (8192 * 32 + 1)))))


def test_labels_that_are_too_long_together_name_their_group():
    with pytest.raises(TokenLimitExceeded, match=r"labels\[mood\].*16385 tokens"):
        LIMITS.check_label_tokens("mood", 16385)


def test_one_label_will_do_where_each_stands_for_itself():
    LIMITS.check(a_request(questions=questions("red"), multi_label=True))


def test_a_long_input_names_its_index_and_what_to_do():
    with pytest.raises(TokenLimitExceeded, match=r"input\[7\].*8193 tokens.*split"):
        LIMITS.check_tokens(7, 8193)
