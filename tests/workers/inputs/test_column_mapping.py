"""The text and the id of a row, or why there are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.inputs.tables.column_mapping import RowContent, own_id, pick
from workers.inputs.tables.row import RowFault


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
        ({"text": 5}, "must be a string, but is a number"),
        ({"text": 5.0}, "must be a string, but is a number"),
        ({"text": False}, "must be a string, but is true or false"),
        ({"text": ["a"]}, "must be a string, but is nested"),
        ({"text": b"\xff"}, "must be a string, but is binary data"),
    ],
)
def test_a_row_without_a_text_says_why(data: dict[str, object], reason: str):
    found = pick(data, 1, column="text")
    assert isinstance(found, RowFault)
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
    found = pick({"id": value, "text": "t"}, 12, column="text", id_columns=["id"])
    assert found == RowContent(id=name, value="t")


@pytest.mark.parametrize("value", [True, 1.5, float("inf"), ["a"], {"a": 1}, b"\xff"])
def test_another_id_is_none(value: object):
    found = pick({"id": value, "text": "t"}, 12, column="text", id_columns=["id"])
    assert isinstance(found, RowFault)
    assert (found.code, found.param) == ("invalid_id", "id")


def test_an_id_column_that_is_not_there_is_a_fault_and_none_named_is_the_number():
    found = pick({"text": "t"}, 12, column="text", id_columns=["id"])
    assert isinstance(found, RowFault)
    assert found.code == "missing_column"
    assert pick({"text": "t"}, 12, column="text") == RowContent(id="12", value="t")


@pytest.mark.parametrize(
    ("data", "columns", "name"),
    [
        (None, [], "12"), ({"id": "a"}, [], "12"), ({"id": "a"}, ["id"], "a"), (None, ["id"], None),
        ({}, ["id"], None), ({"id": ""}, ["id"], None), ({"id": True}, ["id"], None),
        ({"id": 1, "dt": None}, ["dt", "id"], "%null/1"), ({"id": 1}, ["dt", "id"], None),
        ({"id": " ", "dt": None}, ["dt", "id"], None), ({"id": [], "dt": "x"}, ["dt", "id"], None),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_elsewhere_keeps_its_own_id(
    data: dict[str, object] | None, columns: list[str], name: str | None
):
    assert own_id(data, 12, columns) == name


@given(st.lists(st.tuples(st.text("/%2F a"), st.text("/%2F a")), min_size=2, max_size=2))
def test_ids_of_two_columns_are_equal_only_if_both_are(pairs: list[tuple[str, str]]):
    rows = [{"a": first, "b": second, "text": "t"} for first, second in pairs]

    found = [own_id(row, 1, ["a", "b"]) for row in rows]

    values = [(row["a"].strip(), row["b"].strip()) for row in rows]
    assert (found[0] == found[1]) == (values[0] == values[1])
    for row, name in zip(rows, found, strict=True):
        assert pick(row, 1, column="text", id_columns=["a", "b"]) == RowContent(id=name, value="t")


def test_a_column_of_several_that_cannot_be_an_id_is_named():
    row = {"id": 1, "dt": [], "text": "t"}

    wrong = pick(row, 1, column="text", id_columns=["id", "dt"])
    missing = pick(row, 1, column="text", id_columns=["id", "none"])

    assert isinstance(wrong, RowFault)
    assert (wrong.code, wrong.param) == ("invalid_id", "dt")
    assert isinstance(missing, RowFault)
    assert (missing.code, missing.param) == ("missing_column", "none")


def test_a_null_among_several_ids_is_not_an_empty_text():
    rows = [{"dt": "a", "n": value, "text": "x"} for value in (None, float("nan"), "", "%null")]

    found = [pick(row, 1, column="text", id_columns=["dt", "n"]) for row in rows]

    assert [getattr(each, "id", None) for each in found] == ["a/%null"] * 2 + ["a/", "a/%25null"]
