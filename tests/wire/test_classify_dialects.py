"""Recorded pairs: a request, what it means inside, a result, and what is answered.

One folder a dialect: the registry must choose the dialect of the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.dialects import classer_tag, cn8, cn8_few_shot, native
from shared.dialects.classer_response import ClassifyTextAnswer, TagAnswer
from shared.dialects.classification import ClassifyAnswer
from shared.dialects.cn8 import ProxyClassifyAnswer
from shared.dialects.cn8_few_shot import ProxyFewShotAnswer
from shared.dialects.protocol import own_fields
from shared.dialects.registry import CLASSIFY, named, pick
from shared.dialects.requested import UnresolvedRequest
from shared.errors import PigeonholeError
from shared.types import Answer, ClassifyRequest, ClassifyResult, Threshold, Usage

ANSWERS: dict[str, type[BaseModel]] = {
    "jina": ClassifyAnswer,
    "native": ClassifyAnswer,
    "classer": ClassifyTextAnswer,
    "classer_tag": TagAnswer,
    "cn8": ProxyClassifyAnswer,
    "cn8_few_shot": ProxyFewShotAnswer,
}
PATHS = {each.NAME: each.PATH for each in (classer_tag, cn8, cn8_few_shot)}
PAIRS = {
    f"{name}/{path.stem}": json.loads(path.read_text("utf-8"))
    for name in ANSWERS
    for path in sorted(Path(__file__).parent.joinpath(name).glob("*.json"))
}
TRANSLATED = {name: pair for name, pair in PAIRS.items() if "internal" in pair}
REFUSED = {name: pair for name, pair in PAIRS.items() if "error" in pair}


def by_name(pairs: dict[str, Any]) -> Any:
    return pytest.mark.parametrize(("name", "pair"), pairs.items(), ids=pairs)


def parse(body: object, default_model: str = "m", path: str = CLASSIFY) -> UnresolvedRequest:
    """The request as the dialect that the registry chooses reads it."""
    dialect, said = pick(body, path=path)
    with own_fields(dialect.own_error):
        return dialect.parse(said, default_model=default_model)


def path_of(name: str) -> str:
    """Where the request of a pair is sent."""
    return PATHS.get(name.partition("/")[0], CLASSIFY)


@by_name(PAIRS)
def test_a_request_speaks_the_dialect_of_its_folder(name: str, pair: dict[str, Any]):
    assert pick(pair["request"], path=path_of(name))[0] is named(name.partition("/")[0])


@by_name(TRANSLATED)
def test_what_the_vendor_asks_means_the_same_in_the_native_dialect(name: str, pair: dict[str, Any]):
    if name.startswith("jina/"):
        said = native.parse(pair["request"], default_model="default")
        assert said == parse(pair["request"], "default")


def test_every_pair_is_run():
    assert TRANSLATED.keys() | REFUSED.keys() == PAIRS.keys()


@by_name(TRANSLATED)
def test_a_request_means(name: str, pair: dict[str, Any]):
    expected = ClassifyRequest.model_validate(pair["internal"])

    asked = parse(pair["request"], "default", path_of(name))

    assert asked.request == expected
    assert (asked.classifier, asked.model) == (
        pair["request"].get("classifier_id", pair["request"].get("classifier")),
        pair["request"].get("model") if name.startswith(("jina/", "native/")) else None,
    )
    assert asked.priority.name.lower() == pair["request"].get("priority", "standard")


@by_name(TRANSLATED)
def test_a_result_is_answered(name: str, pair: dict[str, Any]):
    request = ClassifyRequest.model_validate(pair["internal"])
    result = ClassifyResult.model_validate(pair["result"])
    dialect = name.partition("/")[0]

    rendered = msgspec.to_builtins(named(dialect).render(request, result).body)

    assert rendered == pair["response"]
    ANSWERS[dialect].model_validate(rendered)


@by_name(REFUSED)
def test_a_wrong_request_is_refused(name: str, pair: dict[str, Any]):
    with pytest.raises(PigeonholeError) as caught:
        parse(pair["request"], "default", path_of(name))

    assert caught.value.code == pair["error"]["code"]
    assert {f.field: f.message for f in caught.value.fields} == pair["error"]["fields"]


def test_an_error_lists_no_more_faults_than_a_reader_reads():
    with pytest.raises(PigeonholeError, match=r"and 99 more") as caught:
        parse({"input": [1] * 100, "labels": ["a", "b"]})

    assert len(caught.value.fields) == 20


@pytest.mark.parametrize("value", [float("inf"), 10**400])
def test_a_threshold_beyond_any_number_is_refused(value: float):
    body = {"input": "a", "labels": ["a", "b"], "threshold": value}

    with pytest.raises(PigeonholeError, match="threshold: must be a"):
        parse(body)


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
        parse(body)

    assert len(caught.value.fields) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(native.ClassifyBody.model_fields, _JSON)))
def test_whatever_is_sent_is_understood_or_refused(body: dict[str, object]):
    try:
        request = parse(body).request
    except PigeonholeError:
        return
    learnt = None if request.questions else ("a", "b")
    asked = [question.labels for question in request.questions] or [("a", "b")]
    answers = tuple(
        tuple(Answer(best=None, scores=(None,) * len(labels)) for labels in asked)
        for _ in request.items
    )

    rendered = msgspec.to_builtins(
        native.render(request, ClassifyResult(answers=answers, usage=Usage(), labels=learnt)).body
    )

    assert len(rendered["data"]) == len(request.items)


class TestALabelCalledDefault:
    """`default` is its own threshold then, and `*` that of the others."""

    def test_has_the_threshold_of_its_name(self):
        body = {"input": "a", "labels": ["default", "b"], "threshold": {"default": 0.9, "*": 0.2}}

        request = parse(body).request

        assert request.threshold == Threshold(default=0.2, per_label={"default": 0.9})

    def test_leaves_the_others_without_one(self):
        body = {"input": "a", "labels": ["default", "b"], "threshold": {"default": 0.9}}

        request = parse(body).request

        assert request.threshold == Threshold(per_label={"default": 0.9})

    def test_of_a_classifier_is_told_apart_where_its_labels_are_known(self):
        body = {"input": "a", "classifier_id": "c", "threshold": {"default": 0.9, "b": 0.1}}

        request = parse(body).request

        assert request.threshold == Threshold(per_label={"default": 0.9, "b": 0.1})
