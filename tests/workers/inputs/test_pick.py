"""The text and the id of a row, or why there are none."""

from __future__ import annotations

import pytest

from workers.inputs.pick import Picked, own_id, pick
from workers.inputs.row import Fault


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"id": "1", "body": "a"}, "is missing; there are: 'id', 'body'"),
        ({}, "is missing; there are: "),
        ({str(i): 1 for i in range(11)}, "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', …"),
        ({"x" * 50: 1}, "x" * 39 + "…"),
        ({"text": None}, "is null"),
        ({"text": ""}, "is empty"),
        ({"text": " \n\t"}, "is empty"),
        ({"text": 5}, "must be a text, but is a number"),
        ({"text": 5.0}, "must be a text, but is a number"),
        ({"text": False}, "must be a text, but is true or false"),
        ({"text": ["a"]}, "must be a text, but is nested"),
        ({"text": b"\xff"}, "must be a text, but is binary data"),
    ],
)
def test_a_row_without_a_text_says_why(data: dict[str, object], reason: str):
    found = pick(data, 1, column="text")
    assert isinstance(found, Fault)
    assert reason in found.message
    assert found.param == "text"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a", "a"), (" a ", "a"), (7, "7"), (2**70, str(2**70)), (7.0, "7"),
        (None, None), ("", None), (" ", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_an_id_is_a_text_or_a_whole_number_and_none_is_made_up(value: object, name: str | None):
    found = pick({"id": value, "text": "t"}, 12, column="text", id_column="id")
    assert found == Picked(id=name, said="t")


@pytest.mark.parametrize("value", [True, 1.5, float("inf"), ["a"], {"a": 1}, b"\xff"])
def test_another_id_is_none(value: object):
    found = pick({"id": value, "text": "t"}, 12, column="text", id_column="id")
    assert isinstance(found, Fault)
    assert (found.code, found.param) == ("invalid_id", "id")


def test_an_id_column_that_is_not_there_is_a_fault_and_none_named_is_the_number():
    found = pick({"text": "t"}, 12, column="text", id_column="id")
    assert isinstance(found, Fault)
    assert found.code == "missing_column"
    assert pick({"text": "t"}, 12, column="text") == Picked(id="12", said="t")


@pytest.mark.parametrize(
    ("data", "id_column", "name"),
    [
        (None, None, "12"), ({"id": "a"}, None, "12"), ({"id": "a"}, "id", "a"), (None, "id", None),
        ({}, "id", None), ({"id": ""}, "id", None), ({"id": True}, "id", None),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_elsewhere_keeps_its_own_id(
    data: dict[str, object] | None, id_column: str | None, name: str | None
):
    assert own_id(data, 12, id_column) == name
