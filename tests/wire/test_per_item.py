"""Items of a wrong shape in a body that asks for errors per item."""

from __future__ import annotations

from typing import Any

import pytest

from shared.dialects import native
from shared.errors import InvalidRequest
from shared.limits import Limits
from shared.types import ClassifyRequest

BODY: dict[str, Any] = {"labels": ["x", "y"], "errors": "per_item"}
LONG = "word " * 100_000


def parse(**body: object) -> ClassifyRequest:
    return native.parse({**BODY, **body}, default_model="tiny").request


def places(request: ClassifyRequest) -> dict[int, str]:
    """The field at fault of each item that was set aside."""
    return {each.index: each.failure.fields[0][0] for each in request.refused}


def test_items_of_a_wrong_shape_are_set_aside_and_the_others_stay():
    request = parse(input=["a", 5, {"text": None}, {"text": "b", "image": "aGk="}, {}, None, "c"])

    assert [item.text for item in request.items] == ["a", "", "", "", "", "", "c"]
    assert places(request) == {
        1: "input[1]",
        2: "input[2].text",
        3: "input[3]",
        4: "input[4].text",
        5: "input[5]",
    }
    assert {each.failure.code for each in request.refused} == {"VALIDATION_ERROR"}


def test_an_item_without_a_list_is_set_aside_too():
    assert places(parse(input={"word": "a"})) == {0: "input[0].text"}


HALF = "caf\ud83d"


def test_half_of_a_surrogate_pair_is_the_fault_of_its_item():
    request = parse(input=["a", HALF, {"text": HALF}, {"image": HALF}, "c"])

    assert places(request) == {1: "input[1]", 2: "input[2].text", 3: "input[3].image[0]"}
    assert "surrogate" in request.refused[0].failure.detail


@pytest.mark.parametrize("errors", ["fail", None])
def test_without_it_a_wrong_item_refuses_the_call(errors: str | None):
    with pytest.raises(InvalidRequest) as caught:
        parse(input=["a", 5], errors=errors)

    assert caught.value.fields[0].field == "input[1]"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"top_k": 0}, "top_k"),
        ({"labels": ["x", 5]}, "labels[1]"),
        ({"input": 5}, "input"),
        ({"errors": "some"}, "errors"),
    ],
)
def test_what_is_no_item_refuses_the_call(changes: dict[str, object], field: str):
    with pytest.raises(InvalidRequest) as caught:
        parse(**{"input": ["a", 5], **changes})

    assert field in {each.field for each in caught.value.fields}


def test_the_limits_set_aside_what_they_refuse_once():
    request = parse(input=["a", "", {"text": "\u200b"}, LONG, {"image": "ftp://x/y"}, 5])

    checked = Limits().check(Limits().check(request))

    assert [item.text for item in checked.items] == ["a", "", "", "", "", ""]
    assert not any(item.media for item in checked.items)
    assert places(checked) == {
        1: "input[1].text",
        2: "input[2].text",
        3: "input[3]",
        4: "input[4].image",
        5: "input[5]",
    }
    codes = {each.index: each.failure.code for each in checked.refused}
    assert codes[3] == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_the_limits_of_the_request_hold():
    with pytest.raises(InvalidRequest) as caught:
        Limits(max_inputs=2).check(parse(input=["a", "", "b"]))

    assert caught.value.fields[0].field == "input[2]"
