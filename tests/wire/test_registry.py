from __future__ import annotations

import pytest

from shared.dialects import classer, classer_tag, jina, native, openai
from shared.dialects.registry import at, named, pick
from shared.errors import InvalidRequest, MessageUndecodable


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": "a"}, jina),
        ({"input": ["a", {"text": "b"}, {"image": "c"}], "labels": [], "action": "list"}, jina),
        ({"input": 7}, jina),
        ({}, native),
        ({"input": "a", "threshold": None}, native),
        ({"input": [{"file": "a"}]}, native),
        ({"input": {"image": ["a", "b"]}}, native),
    ],
)
def test_a_body_of_the_vendor_speaks_jina_and_every_other_the_native_dialect(
    body: dict[str, object], expected: object
):
    assert pick(body) == (expected, body)


def test_errors_are_in_the_dialect_of_the_path():
    assert at("/v1/batches/batch_1", {}) is openai
    assert at("/v1/classify", {}) is native
    assert at("/nowhere", {}) is native


@pytest.mark.parametrize("body", [[], "a", 1, None, True])
def test_a_body_that_is_no_object_is_refused(body: object):
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        pick(body)


@pytest.mark.parametrize("key", ["text", "file", "image"])
def test_a_text_image_or_file_beside_labels_speaks_classer(key: str):
    assert pick({key: "a", "labels": ["x", "y"]})[0] is classer
    assert pick({key: "a", "labels": ["x", "y"], "input": "b"})[0] is not classer
    assert pick({key: "a", "labels": ["x", "y"]}, path="/v1/tag")[0] is classer_tag


def test_several_texts_are_told_their_path():
    with pytest.raises(InvalidRequest, match=r"/v1/classify/batch") as caught:
        pick({"texts": ["a"], "labels": ["x", "y"]})

    assert caught.value.fields[0].field == "input"


def test_a_stored_job_names_its_dialect():
    assert named("jina") is jina  # every stored job of versions before the native dialect
    assert named("native") is native
    assert named("classer") is classer
    with pytest.raises(MessageUndecodable):
        named("martian")
