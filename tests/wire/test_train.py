"""Recorded pairs: a train request, what it means inside, a result, and what is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas import body
from api.schemas.example_file import UploadedFile
from api.schemas.train import parse_file
from shared.dialects import training
from shared.dialects.training import TrainAnswer
from shared.errors import InvalidRequest, PigeonholeError
from shared.training_results import TrainResult
from shared.types import Example, ExampleFile, NewClassifier

PAIRS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(Path(__file__).parent.joinpath("jina", "train").glob("*.json"))
}
TRANSLATED = {name: pair for name, pair in PAIRS.items() if "internal" in pair}
REFUSED = {name: pair for name, pair in PAIRS.items() if "error" in pair}


def by_name(pairs: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("pair", pairs.values(), ids=pairs)


def test_every_pair_is_run():
    assert TRANSLATED.keys() | REFUSED.keys() == PAIRS.keys()


@by_name(TRANSLATED)
def test_a_request_means(pair: dict[str, Any]):
    expected = pair["internal"]

    said = training.parse(pair["request"])

    assert said.model == expected["model"]
    assert said.classifier == expected["classifier"]
    assert said.create == (expected["create"] and NewClassifier(**expected["create"]))
    assert said.num_iters == expected["num_iters"]
    assert said.examples == tuple(map(Example.model_validate, expected["examples"]))
    assert said.place(3) == "input[3]"


@by_name(TRANSLATED)
def test_a_result_is_answered(pair: dict[str, Any]):
    result = TrainResult.model_validate(pair["result"])

    rendered = json.loads(body.dump(training.render(result, job_id="job_1")))

    assert rendered == pair["response"]
    TrainAnswer.model_validate(rendered)


@by_name(REFUSED)
def test_a_wrong_request_is_refused(pair: dict[str, Any]):
    with pytest.raises(PigeonholeError) as caught:
        training.parse(pair["request"])

    assert caught.value.code == pair["error"]["code"]
    assert {f.field: f.message for f in caught.value.fields} == pair["error"]["fields"]


def test_examples_beyond_all_reason_are_not_even_looked_into():
    with pytest.raises(InvalidRequest, match="at most 65536 entries"):
        training.parse({"input": [0] * 70_000})


class TestFromAFile:
    FILE = UploadedFile(data=b"note;kind\nhello;a\nbye;b\n", name="x.csv")

    def test_the_fields_are_words(self):
        fields = {
            "num_iters": "3",
            "keep_examples": "true",
            "name": "tickets",
            "text_column": "note",
            "label_column": "kind",
            "input_format": "csv",
            "delimiter": "tab",
            "encoding": "cp1252",
            "skip_rows": "2",
            "input": "ignored",
        }

        said = parse_file(fields, self.FILE, place="jobs/a/j/upload")

        assert said.num_iters == 3
        assert said.create == NewClassifier(name="tickets", keep_examples=True)
        assert said.examples == ()
        assert said.file == ExampleFile(
            object="jobs/a/j/upload",
            filename="x.csv",
            format="csv",
            delimiter="tab",
            encoding="cp1252",
            skip_rows=2,
            text_column="note",
            label_column="kind",
        )

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("num_iters", "ten", "num_iters: must be a whole number"),
            ("num_iters", "1.5", "num_iters: must be a whole number"),
            ("num_iters", "9" * 5000, "num_iters: has too many digits"),
            ("keep_examples", "perhaps", "keep_examples: must be true or false"),
            ("access", "all", "access: must be 'private' or 'public'"),
            ("delimiter", "::", "delimiter: must be one character"),
            ("delimiter", '"', "delimiter: must be one character"),
            ("encoding", "hex", "encoding: unsupported encoding"),
            ("skip_rows", "-1", "skip_rows: must be at least 0"),
            ("input_format", "xlsx", "input_format: must be 'jsonl', 'csv' or 'parquet'"),
            ("name", "a b", "name: must have 1 to 128 characters"),
        ],
    )
    def test_a_wrong_field_is_named(self, field: str, value: str, says: str):
        with pytest.raises(InvalidRequest, match=says):
            parse_file({field: value}, self.FILE, place="")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(training.InlineTrainBody.model_fields, _JSON))
)
def test_whatever_is_sent_is_understood_or_refused(sent: dict[str, object]):
    try:
        said = training.parse(sent)
    except PigeonholeError:
        return

    assert (said.create is None) == (said.classifier is not None)
