"""Several spellings of one label in one request."""

from __future__ import annotations

import pytest

from shared.dialects import native
from shared.errors import InvalidRequest
from shared.types import ClassifyRequest


def parse(**body: object) -> ClassifyRequest:
    return native.parse({"input": "I was charged twice", **body}, default_model="tiny").request


def test_are_one_label_in_its_first_spelling():
    request = parse(labels=["billing", "billing ", "billing\u00a0", "delivery"])

    assert request.questions[0].labels == ("billing", "delivery")


def test_are_found_by_descriptions_examples_and_thresholds():
    request = parse(
        labels=["billing ", "delivery"],
        descriptions={"billing": "invoices and refunds"},
        examples={"\u200bbilling": ["My card was charged twice."]},
        threshold={"\u200bbilling": 0.5, "default": 0.2},
    )

    assert request.descriptions == {"billing ": "invoices and refunds"}
    assert request.examples == {"billing ": ("My card was charged twice.",)}
    assert request.threshold is not None
    assert request.threshold.per_label == {"billing ": 0.5}
    assert request.threshold.default == 0.2


def test_of_two_groups_get_the_same_description():
    request = parse(
        labels={"a": ["red", "green"], "b": ["red ", "blue"]}, descriptions={"red": "like blood"}
    )

    assert request.descriptions == {"red": "like blood", "red ": "like blood"}


@pytest.mark.parametrize("field", ["descriptions", "examples", "threshold"])
def test_that_stand_twice_are_refused(field: str):
    values: dict[str, object] = {"descriptions": "x", "examples": ["x"], "threshold": 0.5}
    with pytest.raises(InvalidRequest, match="twice, in two spellings"):
        parse(labels=["red", "green"], **{field: {"red": values[field], "red ": values[field]}})
