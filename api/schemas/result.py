"""Response bodies by the class of the result; only classify requests have dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api.schemas import evaluation
from api.schemas.job import render_batch_result
from api.schemas.openai.dry_run import render_dry_run
from api.schemas.run import render_run
from shared.batches import BatchResult, DryRunResult
from shared.dialects import training
from shared.dialects.protocol import Rendered
from shared.dialects.registry import named
from shared.evaluation_results import EvaluateResult
from shared.job_kinds import Body
from shared.retraining import RetrainResult
from shared.training_results import TrainResult
from shared.types import ClassifyRequest, ClassifyResult, JobResult

RENDERERS: Mapping[type[JobResult], Callable[[Any, str, str], dict[str, Any]]] = {
    TrainResult: lambda result, job_id, _: training.render(result, job_id=job_id),
    EvaluateResult: lambda result, job_id, root: evaluation.render(
        result, job_id=job_id, root=root
    ),
    BatchResult: lambda result, job_id, _: render_batch_result(result, job_id=job_id),
    RetrainResult: lambda result, _, root: render_run(result.run, root=root),
    DryRunResult: lambda result, _, __: render_dry_run(result),
}
"""The body of a result, by it, the id of its job and the root of URLs."""


def render(dialect: str, body: Body, job_id: str, result: JobResult, *, root: str = "") -> Rendered:
    """The response body for a request. URLs begin with `root`."""
    if isinstance(result, ClassifyResult):
        assert isinstance(body, ClassifyRequest)
        return named(dialect).render(body, result)
    return Rendered(body=RENDERERS[type(result)](result, job_id, root))
