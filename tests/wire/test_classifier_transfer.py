from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.body_stream import LargeBody
from api.schemas.classifier_transfer import FileHeader, filename, parse_fields, read_header
from shared.errors import InvalidRequest
from shared.types import NewClassifier
from tests.classifier_files import safetensors, weights_file
from tests.classifiers import a_record
from workers.classifier_file import TrainedClassifier, dumps
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration


def read(data: bytes) -> FileHeader:
    body = LargeBody(io.BytesIO(data), length=len(data), max_bytes=2**30)
    found = read_header(body)
    assert b"".join(iter(lambda: body.read(1000), b"")) == data
    return found


def test_a_file_says_what_it_is():
    found = read(weights_file(labels=["größe", "b"], counts=[1, 2], learner={"more": 1}))

    assert (found.model, found.dimensions, found.labels) == ("tiny", 8, ["größe", "b"])


def test_what_a_worker_has_written_is_read():
    learner = Learner.start(
        ["red", "grün"], np.eye(2, 8, dtype=np.float32), CosineCalibration(temperature=0.1)
    )
    trained = TrainedClassifier(model="tiny", revision="1", counts=(2, 2), learner=learner)

    found = read(dumps(trained))

    assert (found.model, found.revision, found.dimensions) == ("tiny", "1", 8)
    assert found.labels == ["red", "grün"]


@pytest.mark.slow
def test_as_many_labels_as_there_may_be_as_long_as_they_may_be_are_read():
    labels = ["\U0001f600" * 250 + str(i) for i in range(1024)]

    assert read(weights_file(labels=labels, learner={"labels": labels})).labels == labels


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_sentence(data: bytes):
    with pytest.raises(InvalidRequest) as caught:
        read(data)

    assert caught.value.fields[0].field == "file"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    )
)
def test_any_metadata_is_refused_with_a_sentence(value: object):
    for metadata in (value, {"pigeonhole": value}, {"pigeonhole": json.dumps(value)}):
        with pytest.raises(InvalidRequest) as caught:
            read(safetensors(metadata))

        assert caught.value.fields[0].field == "file"


@pytest.mark.parametrize("said", ["true", "1", "yes"])
def test_the_query_says_what_the_classifier_is_given(said: str):
    fields = parse_fields({"name": "spam", "keep_examples": said, "access": "public"})

    assert fields.new == NewClassifier(name="spam", access="public", keep_examples=True)
    assert parse_fields({}).new == NewClassifier()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("spam", "spam-v2.safetensors"),
        ("a/../b", "a_.._b-v2.safetensors"),
        ('a"; x', "a_x-v2.safetensors"),
        (".hidden", "hidden-v2.safetensors"),
        ("größe", "gr_e-v2.safetensors"),
    ],
)
def test_a_file_is_called_by_the_name_in_plain_letters(name: str, file: str):
    record = a_record(name=name, versions=2)

    assert filename(record, record.latest) == file


@pytest.mark.parametrize("name", [None, "猫", "…"])
def test_a_file_of_no_plain_name_is_called_by_the_id(name: str | None):
    record = a_record(name=name)

    assert filename(record, record.latest) == f"{record.id}-v1.safetensors"
