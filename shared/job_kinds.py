"""The kinds of jobs: one table. A new kind is a row here, a class of request, a handler in
`workers.wiring`, and a renderer in `api.schemas.result` where its result has a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetPydanticSchema
from pydantic_core import CoreSchema, core_schema

from shared import object_keys
from shared.batches import BatchRequest, BatchResult, DryRunRequest, DryRunResult
from shared.classifier_requests import ImportRequest, RebuildRequest, RelabelRequest
from shared.evaluation_results import EvaluateResult
from shared.retraining import RetrainRequest, RetrainResult
from shared.training_results import TrainResult
from shared.types import (
    ClassifyRequest,
    ClassifyResult,
    EvaluateRequest,
    JobKind,
    JobRequest,
    JobResult,
    Priority,
    TrainRequest,
)

Lane = Priority | Literal["train"]


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One kind of job. Its functions take a request of the kind, `counts` also its result.

    Attributes:
        request, result: The classes of both.
        lane: Of the queue; None: the priority of the request.
        size: Items of the job, as far as its request tells.
        counts: Items that came out and items that did not, of a job with a result.
        planned: Whether a worker reads its input and cuts it into parts; else it is one part.
        irreversible: Whether what it made stays, so that a cancel after it is too late.
        announced: Whether webhooks are told of its end.
        index: The name of the object that lists it, by account and job, where a list of its own has
            the jobs of the kind.
        deadline: When it has to end, in seconds since 1970; None: no deadline.
        metadata: What its owner finds it by, where that is part of the request.
        free: Whether it costs no tokens.
        classifier: The id of the one classifier that it uses or makes; empty: none, or several.
        purge: What is kept of the request once the job has ended, and the objects that are deleted
            then; None: all of it is kept, and it has no objects.
    """

    request: type[JobRequest]
    result: type[JobResult]
    lane: Lane | None = "train"
    size: Callable[[Any], int] = lambda _: 1
    counts: Callable[[Any, Any], tuple[int, int]] = lambda *_: (1, 0)
    planned: bool = False
    irreversible: bool = False
    announced: bool = True
    index: Callable[[str, str], str] | None = None
    deadline: Callable[[Any], float | None] = lambda _: None
    metadata: Callable[[Any], dict[str, str]] = lambda _: {}
    free: bool = False
    classifier: Callable[[Any], str] = lambda _: ""
    purge: Callable[[Any], tuple[JobRequest, tuple[str, ...]]] | None = None


_Examples = TrainRequest | EvaluateRequest


def _classified(request: ClassifyRequest, result: ClassifyResult) -> tuple[int, int]:
    failed = len(result.failed)
    return len(request.items) - len(request.cached) - failed, failed


def _learnt(request: _Examples, result: TrainResult | EvaluateResult) -> tuple[int, int]:
    """How many examples a file has is known since it was read."""
    return (len(request.examples) if request.file is None else result.num_samples), 0


def _collected(_: RetrainRequest, result: RetrainResult) -> tuple[int, int]:
    """Rows that a run has used, and rows that it could not; one without rows counts as one."""
    counts = result.run.counts
    used = counts.new + counts.held_out
    return (used if used or counts.bad else 1), counts.bad


def _without_examples(request: _Examples) -> tuple[JobRequest, tuple[str, ...]]:
    """None are kept unless the owner of a classifier asks; `rebuild` reads those beside it."""
    sent = request.file is not None and not request.file.kept
    objects = (request.file.object,) if request.file is not None and sent else ()
    return request.model_copy(update={"examples": ()}), objects


def _version_used(request: ClassifyRequest | EvaluateRequest) -> str:
    return "" if request.classifier is None else request.classifier.classifier_id


def _classifier_made(
    request: TrainRequest | RebuildRequest | RelabelRequest | ImportRequest | RetrainRequest,
) -> str:
    return request.classifier_id


_by_examples = partial(
    JobSpec,
    size=lambda request: len(request.examples),
    counts=_learnt,
    purge=_without_examples,
)
_makes_version = partial(
    JobSpec, result=TrainResult, irreversible=True, classifier=_classifier_made
)

JOB_KINDS: Mapping[str, JobSpec] = {
    JobKind.CLASSIFY: JobSpec(
        request=ClassifyRequest,
        result=ClassifyResult,
        lane=None,
        size=lambda request: len(request.items),
        counts=_classified,
        classifier=_version_used,
    ),
    JobKind.TRAIN: _by_examples(
        request=TrainRequest,
        result=TrainResult,
        irreversible=True,
        classifier=_classifier_made,
    ),
    JobKind.REBUILD: _makes_version(request=RebuildRequest),
    JobKind.RELABEL: _makes_version(request=RelabelRequest, free=True),
    JobKind.IMPORT: _makes_version(
        free=True, request=ImportRequest, purge=lambda request: (request, (request.upload,))
    ),
    JobKind.EVALUATE: _by_examples(
        request=EvaluateRequest, result=EvaluateResult, classifier=_version_used
    ),
    JobKind.RETRAIN: _makes_version(
        request=RetrainRequest,
        result=RetrainResult,
        counts=_collected,
        deadline=lambda request: request.deadline,
    ),
    JobKind.BATCH: JobSpec(
        request=BatchRequest,
        result=BatchResult,
        lane=Priority.BULK,
        size=lambda _: 0,  # known once it is planned
        planned=True,
        index=object_keys.batch,
        deadline=lambda request: request.deadline,
        classifier=lambda request: "" if request.rows is None else _version_used(request.rows.ask),
        metadata=lambda request: request.metadata,
    ),
    JobKind.DRY_RUN: JobSpec(
        request=DryRunRequest,
        result=DryRunResult,
        lane=Priority.STANDARD,
        free=True,
        announced=False,  # nothing may be left of it by then
        metadata=lambda request: request.batch.metadata,
    ),
}


def _of_any_kind(_: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Reads a request by its `kind`. The first version wrote none: it knew one kind.

    The kind is looked up in the JSON itself: a function that chooses would be given all of it as
    Python objects first. For the same reason it is written as what it is, not tried as each kind.
    """
    kinds = {str(kind): handler.generate_schema(spec.request) for kind, spec in JOB_KINDS.items()}
    return core_schema.union_schema(
        [
            (core_schema.tagged_union_schema(dict[Any, CoreSchema](kinds), "kind"), "kind"),
            (kinds[JobKind.CLASSIFY], "no kind"),
        ],
        mode="left_to_right",
        serialization=core_schema.simple_ser_schema("any"),
    )


Body = Annotated[JobRequest, GetPydanticSchema(_of_any_kind)]
"""The request of a job of any kind, in what is stored or sent."""
