"""Recorded pairs: a request, what it means inside, a result, and what is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dialects import jina
from shared.dialects.classification import ClassifyAnswer
from shared.errors import PigeonholeError
from shared.types import Answer, ClassifyRequest, ClassifyResult, Threshold, Usage

PAIRS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(Path(__file__).parent.joinpath("jina").glob("*.json"))
}
TRANSLATED = {name: pair for name, pair in PAIRS.items() if "internal" in pair}
REFUSED = {name: pair for name, pair in PAIRS.items() if "error" in pair}


def by_name(pairs: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("pair", pairs.values(), ids=pairs)


def test_every_pair_is_run():
    assert TRANSLATED.keys() | REFUSED.keys() == PAIRS.keys()


@by_name(TRANSLATED)
def test_a_request_means(pair: dict[str, Any]):
    expected = ClassifyRequest.model_validate(pair["internal"])

    asked = jina.parse(pair["request"], default_model="default")

    assert asked.request == expected
    assert (asked.classifier, asked.model) == (
        pair["request"].get("classifier_id"),
        pair["request"].get("model"),
    )
    assert asked.priority.name.lower() == pair["request"].get("priority", "standard")


@by_name(TRANSLATED)
def test_a_result_is_answered(pair: dict[str, Any]):
    request = ClassifyRequest.model_validate(pair["internal"])
    result = ClassifyResult.model_validate(pair["result"])

    rendered = msgspec.to_builtins(jina.render(request, result))

    assert rendered == pair["response"]
    ClassifyAnswer.model_validate(rendered)


@by_name(REFUSED)
def test_a_wrong_request_is_refused(pair: dict[str, Any]):
    with pytest.raises(PigeonholeError) as caught:
        jina.parse(pair["request"], default_model="default")

    assert caught.value.code == pair["error"]["code"]
    assert {f.field: f.message for f in caught.value.fields} == pair["error"]["fields"]


def test_an_error_lists_no_more_faults_than_a_reader_reads():
    with pytest.raises(PigeonholeError, match=r"and 99 more") as caught:
        jina.parse({"input": [1] * 100, "labels": ["a", "b"]}, default_model="m")

    assert len(caught.value.fields) == 20


@pytest.mark.parametrize("value", [float("inf"), 10**400])
def test_a_threshold_beyond_any_number_is_refused(value: float):
    body = {"input": "a", "labels": ["a", "b"], "threshold": value}

    with pytest.raises(PigeonholeError, match="threshold: must be a"):
        jina.parse(body, default_model="m")


@pytest.mark.parametrize(
    "body",
    [
        {"input": [""] * 70_000, "labels": ["a", "b"]},
        {"input": "a", "labels": [""] * 70_000},
        {"input": "a", "labels": {"g": [0] * 40_000, "h": [0] * 40_000}},
    ],
)
def test_lists_beyond_all_reason_are_not_even_looked_into(body: dict[str, object]):
    with pytest.raises(PigeonholeError, match="at most 65536 entries") as caught:
        jina.parse(body, default_model="m")

    assert len(caught.value.fields) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(jina.ClassifyBody.model_fields, _JSON)))
def test_whatever_is_sent_is_understood_or_refused(body: dict[str, object]):
    try:
        request = jina.parse(body, default_model="m").request
    except PigeonholeError:
        return
    learnt = None if request.questions else ("a", "b")
    asked = [question.labels for question in request.questions] or [("a", "b")]
    answers = tuple(
        tuple(Answer(best=None, scores=(None,) * len(labels)) for labels in asked)
        for _ in request.items
    )

    rendered = msgspec.to_builtins(
        jina.render(request, ClassifyResult(answers=answers, usage=Usage(), labels=learnt))
    )

    assert len(rendered["data"]) == len(request.items)


class TestALabelCalledDefault:
    """`default` is its own threshold then, and `*` that of the others."""

    def test_has_the_threshold_of_its_name(self):
        body = {"input": "a", "labels": ["default", "b"], "threshold": {"default": 0.9, "*": 0.2}}

        request = jina.parse(body, default_model="tiny").request

        assert request.threshold == Threshold(default=0.2, per_label={"default": 0.9})

    def test_leaves_the_others_without_one(self):
        body = {"input": "a", "labels": ["default", "b"], "threshold": {"default": 0.9}}

        request = jina.parse(body, default_model="tiny").request

        assert request.threshold == Threshold(per_label={"default": 0.9})

    def test_of_a_classifier_is_told_apart_where_its_labels_are_known(self):
        body = {"input": "a", "classifier_id": "c", "threshold": {"default": 0.9, "b": 0.1}}

        request = jina.parse(body, default_model="tiny").request

        assert request.threshold == Threshold(per_label={"default": 0.9, "b": 0.1})
