from __future__ import annotations

import pytest

from shared.dialects import jina
from shared.dialects.registry import named, pick
from shared.errors import InvalidRequest, MessageUndecodable


def test_a_body_with_input_speaks_the_main_dialect():
    dialect, said = pick({"input": "a"})

    assert dialect is jina
    assert said == {"input": "a"}


@pytest.mark.parametrize("body", [[], "a", 1, None, True])
def test_a_body_that_is_no_object_is_refused(body: object):
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        pick(body)


@pytest.mark.parametrize("key", ["text", "texts", "file", "image"])
def test_a_body_of_another_dialect_is_told_the_name_of_ours(key: str):
    with pytest.raises(InvalidRequest, match=f'as "input", not as "{key}"') as caught:
        pick({key: "a", "labels": ["x", "y"]})

    assert caught.value.fields[0].field == "input"


def test_a_stored_job_names_its_dialect():
    assert named("jina") is jina
    with pytest.raises(MessageUndecodable):
        named("martian")
