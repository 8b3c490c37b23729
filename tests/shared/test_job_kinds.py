from __future__ import annotations

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.schemas.result import RENDERERS
from shared.batches import BatchRequest, DryRunRequest, RowSource
from shared.classifier_requests import ImportRequest, RebuildRequest, RelabelRequest
from shared.job_kinds import JOB_KINDS, Body
from shared.retraining import RetrainRequest
from shared.types import (
    ClassifierVersion,
    ClassifyRequest,
    ClassifyResult,
    EvaluateRequest,
    Example,
    ExampleFile,
    Item,
    JobKind,
    JobRequest,
    NewClassifier,
    TrainRequest,
)

BATCH = BatchRequest(
    model="tiny", source=RowSource(object="o"), deadline=99.5, metadata={"team": "a"}
)
EXAMPLES = (Example(item=Item(text="a rose"), label="red"),)
FILE = ExampleFile(object="files/x")
VERSION = ClassifierVersion(account="acme", classifier_id="c", version=1, file="f")
REQUESTS: list[JobRequest] = [
    ClassifyRequest(model="tiny", items=(Item(text="a"), Item(text="b"))),
    TrainRequest(model="tiny", classifier_id="c", examples=EXAMPLES),
    RebuildRequest(model="tiny", classifier_id="c"),
    RelabelRequest(model="tiny", classifier_id="c", labels={"red": None}),
    ImportRequest(model="tiny", classifier_id="c", create=NewClassifier(name="n"), upload="u"),
    EvaluateRequest(model="tiny", classifier=VERSION, examples=EXAMPLES, file=FILE),
    RetrainRequest(model="tiny", classifier_id="c", dry_run=True, deadline=99.5),
    BATCH,
    DryRunRequest(model="tiny", batch=BATCH),
]
EACH = pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)


class Holder(BaseModel):
    body: Body


def test_every_kind_has_a_row_of_its_own_class_of_request_and_a_renderer_of_its_result():
    classes = [spec.request for spec in JOB_KINDS.values()]

    assert list(JOB_KINDS) == list(JobKind) == [request.kind for request in REQUESTS]
    assert classes == [type(request) for request in REQUESTS]
    assert {spec.result for spec in JOB_KINDS.values()} == {ClassifyResult, *RENDERERS}
    for kind, spec in JOB_KINDS.items():
        assert spec.request.model_fields["kind"].default == kind


@EACH
def test_a_request_is_read_as_what_was_written(request_: JobRequest):
    written = Holder(body=request_).model_dump_json()

    read = Holder.model_validate_json(written).body

    assert type(read) is type(request_)
    assert read == request_


@pytest.mark.parametrize("kind", ["nothing", None, 1])
def test_a_kind_that_is_not_known_is_refused(kind: object):
    with pytest.raises(ValidationError):
        Holder.model_validate({"body": {"kind": kind, "model": "tiny", "items": []}})


def test_a_request_of_another_class_is_refused():
    with pytest.raises(ValidationError):
        Holder.model_validate({"body": NewClassifier(name="n")})


def test_what_a_request_tells_of_its_job():
    told = {
        request.kind: (spec.size(request), spec.deadline(request), spec.metadata(request))
        for request in REQUESTS
        for spec in [JOB_KINDS[request.kind]]
    }

    assert told == {
        "classify": (2, None, {}),
        "train": (1, None, {}),
        "rebuild": (1, None, {}),
        "relabel": (1, None, {}),
        "import": (1, None, {}),
        "evaluate": (1, None, {}),
        "retrain": (1, 99.5, {}),
        "batch": (0, 99.5, {"team": "a"}),
        "dry_run": (1, None, {"team": "a"}),
    }


def test_examples_and_the_files_of_a_job_are_not_kept_when_it_has_ended():
    purged = {
        request.kind: spec.purge(request)
        for request in REQUESTS
        for spec in [JOB_KINDS[request.kind]]
        if spec.purge is not None
    }

    assert {kind: objects for kind, (_, objects) in purged.items()} == {
        "train": (),
        "import": ("u",),
        "evaluate": ("files/x",),
    }
    kept = TypeAdapter(dict[str, Body]).dump_json({k: body for k, (body, _) in purged.items()})
    assert b"a rose" not in kept
    assert b'"upload":"u"' in kept
