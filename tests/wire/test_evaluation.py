from __future__ import annotations

import pytest

from api.schemas import body, evaluation
from api.schemas.evaluation import EvaluateAnswer
from api.schemas.example_file import UploadedFile
from shared.errors import InvalidRequest
from shared.evaluation_results import EvaluateResult, LabelQuality, ReliabilityBin, UncertainItem
from shared.types import ExampleFile, Usage

RESULT = EvaluateResult(
    classifier_id="id",
    version=3,
    num_samples=2,
    usage=Usage(input_tokens=5),
    accuracy=0.5,
    macro_f1=0.25,
    micro_f1=0.5,
    calibration_error=0.125,
    labels=tuple(
        LabelQuality(label=label, precision=0.5, recall=1.0, f1=0.75, support=1, threshold=0.25)
        for label in ("x", "y")
    ),
    confusion=((1, 0), (1, 0)),
    reliability=(ReliabilityBin(upper=1.0, confidence=0.75, accuracy=0.5, count=2),),
    worth_labelling=(UncertainItem(index=7, prediction="x", score=0.5, margin=0.0),),
    plots=("confusion_matrix.png", "confusion_matrix.svg", "reliability.png", "reliability.svg"),
)


def test_examples_may_lack_a_label():
    said = evaluation.parse({"input": [{"text": "a", "label": "x"}, {"text": "b"}]})

    assert [(each.item.text, each.label) for each in said.examples] == [("a", "x"), ("b", None)]


def test_those_of_a_file_are_for_a_worker_to_read():
    fields = {"text_column": "t", "skip_rows": "1"}

    said = evaluation.parse_file(fields, UploadedFile(data=b"", name="f.csv"), place="there")

    assert said.examples == ()
    assert said.file == ExampleFile(object="there", filename="f.csv", text_column="t", skip_rows=1)


@pytest.mark.parametrize(("field", "value"), [("delimiter", "||"), ("encoding", "no")])
def test_a_wrong_field_beside_a_file_is_refused(field: str, value: str):
    with pytest.raises(InvalidRequest) as caught:
        evaluation.parse_file({field: value}, UploadedFile(data=b"text,label\na,x\n"), place="")

    assert caught.value.fields[0].field == field


def test_what_is_rendered_is_what_is_documented():
    rendered = evaluation.render(RESULT, job_id="job_1")

    assert set(rendered) == set(EvaluateAnswer.model_fields)
    EvaluateAnswer.model_validate_json(body.dump(rendered), strict=True)
    assert rendered["thresholds"] == {"x": 0.25, "y": 0.25}
    assert rendered["confusion_matrix"] == {"labels": ["x", "y"], "counts": ((1, 0), (1, 0))}
    assert rendered["plots"] == {
        "confusion_matrix": {
            "png": "/v1/jobs/job_1/plots/confusion_matrix.png",
            "svg": "/v1/jobs/job_1/plots/confusion_matrix.svg",
        },
        "reliability": {
            "png": "/v1/jobs/job_1/plots/reliability.png",
            "svg": "/v1/jobs/job_1/plots/reliability.svg",
        },
    }
