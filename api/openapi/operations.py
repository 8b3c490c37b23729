"""The table of all calls, in the order in which a reader meets them."""

from __future__ import annotations

from pydantic import BaseModel

from api.http.event_stream import EVENTS
from api.http.form_file import MULTIPART
from api.openapi import openai_operations, webhook_operations
from api.openapi.model import (
    CLASSIFIER_ID,
    DOWNLOAD_HEADERS,
    IDEMPOTENCY_KEY,
    IF_RANGE,
    JOB_ID,
    LAST_EVENT_ID,
    METADATA,
    MODEL_ID,
    PLOT,
    PREFER,
    RANGE,
    Operation,
    QueryFields,
    after,
    choice,
    limit,
)
from api.schemas.classifier import (
    ClassifierAnswer,
    ClassifierChangeBody,
    ClassifierList,
    DeletedObject,
    ForgottenExamples,
    RebuildBody,
    RollbackBody,
    VersionList,
)
from api.schemas.classifier_transfer import MEDIA_TYPE, ImportFields, ImportFileBody
from api.schemas.evaluation import EvaluateAnswer, EvaluateBody, EvaluateFileBody
from api.schemas.example_file import FILE_TYPES, TYPES
from api.schemas.job import BatchAnswer, JobList, JobObject
from api.schemas.model import ModelList, ModelObject
from api.schemas.train import TrainFileBody
from api.services.jobs import MAX_LOOKED_AT, PLOTS
from api.services.readiness import Liveness, Readiness
from shared.dialects.classification import ClassifyAnswer
from shared.dialects.jina import ClassifyBody
from shared.dialects.training import TrainAnswer, TrainBody
from shared.jobs import State
from shared.types import JobKind

_KEYED = (401, 403, 429, 500, 503, 507)  # what any call with a key may meet
_FILES: dict[str, type[BaseModel] | None] = dict.fromkeys(TYPES)


def _from_file(fields: type[BaseModel]) -> str:
    """How a file is sent. Neither form nor query is described otherwise.

    A generated client has one argument for a name, so a field cannot be in both. And
    typescript-fetch does not compile where a body is JSON or a form.
    """
    names = ", ".join(f"`{name}`" for name in fields.model_fields)
    return (
        "The examples may also be in a file: as the body, with other fields in the query, or as "
        f"the part `file` of a form (`multipart/form-data`) with fields beside it: {names}."
    )


_FILTERED = (
    f"At most {MAX_LOOKED_AT} jobs are looked at for a page, so with filters it may have fewer "
    "than `limit`, or none: go on after `last_id` while `has_more` is true."
)
_WAITED: dict[int, tuple[str, ...]] = {
    200: ("Preference-Applied", "Idempotent-Replayed"),
    202: ("Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed"),
}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/classify",
        scope="classify",
        name="classify",
        summary="Sort texts into labels.",
        body=ClassifyBody,
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: ClassifyAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 429, 504),
    ),
    Operation(
        method="post",
        path="/v1/train",
        scope="train",
        name="train",
        summary="Make a classifier from examples, or train one further.",
        about=_from_file(TrainFileBody),
        body=TrainBody,
        uploads=_FILES,
        query_fields=QueryFields(shape=TrainFileBody, beside=FILE_TYPES),
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 429),
    ),
    Operation(
        method="get",
        path="/v1/classifiers",
        scope="train",
        name="listClassifiers",
        summary="Your classifiers, newest first.",
        answers={200: ClassifierList},
        problems=_KEYED,
    ),
    Operation(
        method="post",
        path="/v1/classifiers",
        scope="train",
        name="listClassifiersToo",
        summary="The same; what is sent is not looked at.",
        answers={200: ClassifierList},
        problems=(*_KEYED, 413, 415, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/import",
        scope="train",
        name="importClassifier",
        summary="Make a classifier from an exported file, sent as the body or in a form.",
        about="Where the body is nothing but the file, the fields of the form are in the query.",
        uploads={MULTIPART: ImportFileBody, MEDIA_TYPE: None},
        query_fields=QueryFields(shape=ImportFields),
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 409, 413, 415, 422, 429),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}",
        scope="train",
        name="getClassifier",
        summary="All about a version of a classifier; the latest where none is named.",
        parameters=(CLASSIFIER_ID,),
        answers={200: ClassifierAnswer},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="patch",
        path="/v1/classifiers/{classifier_id}",
        scope="train",
        name="changeClassifier",
        summary="Change its name, description, access, aliases or labels, or whether examples are "
        "kept.",
        about="A change of labels is a job that makes a new version; `Prefer` is for it alone.",
        body=ClassifierChangeBody,
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: ClassifierAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 429),
    ),
    Operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}",
        scope="train",
        name="deleteClassifier",
        summary="Delete a classifier, with its versions and the examples it kept; "
        "jobs that were accepted before still classify with it.",
        parameters=(CLASSIFIER_ID,),
        answers={200: DeletedObject},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/versions",
        scope="train",
        name="listVersions",
        summary="The versions that are kept, newest first.",
        parameters=(CLASSIFIER_ID,),
        answers={200: VersionList},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rollback",
        scope="train",
        name="rollBackClassifier",
        summary="Make a new version that is an old one again.",
        body=RollbackBody,
        parameters=(CLASSIFIER_ID, IDEMPOTENCY_KEY),
        answers={200: ClassifierAnswer},
        headers={200: ("Idempotent-Replayed",)},
        problems=(*_KEYED, 404, 409, 413, 415, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rebuild",
        scope="train",
        name="rebuildClassifier",
        summary="Learn the examples that were kept anew, with this or another model.",
        body=RebuildBody,
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 429),
    ),
    Operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}/examples",
        scope="train",
        name="forgetExamples",
        summary="Delete the examples that were kept, and keep no more.",
        parameters=(CLASSIFIER_ID,),
        answers={200: ForgottenExamples},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/evaluate",
        scope="train",
        name="evaluateClassifier",
        summary="How good a version is on labelled examples.",
        about=_from_file(EvaluateFileBody),
        body=EvaluateBody,
        uploads=_FILES,
        query_fields=QueryFields(shape=EvaluateFileBody, beside=FILE_TYPES),
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: EvaluateAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 429),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/export",
        scope="train",
        name="exportClassifier",
        summary="A version as a file: safetensors that says what it is.",
        parameters=(CLASSIFIER_ID, RANGE, IF_RANGE),
        answers={200: MEDIA_TYPE, 206: MEDIA_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(*_KEYED, 404, 412, 416, 422),
    ),
    Operation(
        method="get",
        path="/v1/models",
        scope="classify",
        name="listModels",
        summary="The models on offer.",
        answers={200: ModelList},
        problems=_KEYED,
    ),
    Operation(
        method="get",
        path="/v1/models/{model_id}",
        scope="classify",
        name="getModel",
        summary="A model, by its id or an alias.",
        parameters=(MODEL_ID,),
        answers={200: ModelObject},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="get",
        path="/v1/jobs",
        scope="jobs",
        name="listJobs",
        summary="Your jobs, newest first.",
        parameters=(
            after("job_"),
            limit(default=20, most=100),
            choice("kind", "Only jobs of this kind.", JobKind),
            choice("status", "Only jobs of this status.", State),
            METADATA,
        ),
        about=_FILTERED,
        answers={200: JobList},
        problems=(*_KEYED, 422),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}",
        scope="jobs",
        own_jobs=True,
        name="getJob",
        summary="A job as it stands.",
        parameters=(JOB_ID,),
        answers={200: JobObject},
        headers={200: ("Retry-After",)},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}/events",
        scope="jobs",
        own_jobs=True,
        name="followJob",
        summary="A job as it goes on: an event whenever its counts or its status change.",
        parameters=(JOB_ID, LAST_EVENT_ID),
        answers={200: EVENTS, 204: ()},
        problems=(*_KEYED, 404, 429),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}/result",
        scope="jobs",
        own_jobs=True,
        name="getJobResult",
        summary="What a job would have answered at once.",
        parameters=(JOB_ID,),
        answers={200: (ClassifyAnswer, TrainAnswer, EvaluateAnswer, BatchAnswer)},
        problems=(*_KEYED, 404, 409),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}/plots/{file}",
        scope="jobs",
        own_jobs=True,
        name="getJobPlot",
        summary="A drawing of an evaluation.",
        parameters=(JOB_ID, PLOT),
        answers={200: tuple(sorted(set(PLOTS.values())))},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="delete",
        path="/v1/jobs/{job_id}",
        scope="jobs",
        own_jobs=True,
        name="cancelJob",
        summary="End a job; what runs stops at the next batch.",
        parameters=(JOB_ID,),
        answers={202: JobObject},
        problems=(*_KEYED, 404, 409),
    ),
    *openai_operations.OPERATIONS,
    *webhook_operations.OPERATIONS,
    Operation(
        method="get",
        path="/health/live",
        name="live",
        summary="Whether the process answers.",
        answers={200: Liveness},
        problems=(400, 500),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/health/ready",
        name="ready",
        summary="Whether an item comes back through the real queue.",
        answers={200: Readiness, 503: Readiness},
        headers={503: ("Retry-After",)},
        problems=(400, 500),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Counts for Prometheus.",
        answers={200: "text/plain"},
        problems=(400, 500),
        needs_key=False,
    ),
)
