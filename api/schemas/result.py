"""The body of an answer, by the kind of work: only classifying has dialects."""

from __future__ import annotations

from typing import Any

from api.schemas import evaluation
from api.schemas.job import render_batch_result
from api.schemas.openai.dry_run import render_dry_run
from shared.batches import BatchResult, DryRunResult
from shared.dialects import training
from shared.dialects.protocol import Rendered
from shared.dialects.registry import named
from shared.messages import Body, Result
from shared.types import ClassifyRequest, ClassifyResult, EvaluateResult, TrainResult


def render(dialect: str, asked: Body, job_id: str, result: Result, *, root: str = "") -> Rendered:
    """What a call that asked this is answered. URLs begin with the `root`."""
    if isinstance(result, ClassifyResult):
        assert isinstance(asked, ClassifyRequest)
        return named(dialect).render(asked, result)
    return Rendered(body=_body(job_id, result, root))


def _body(job_id: str, result: Result, root: str) -> dict[str, Any]:
    if isinstance(result, EvaluateResult):
        return evaluation.render(result, job_id=job_id, root=root)
    if isinstance(result, DryRunResult):
        return render_dry_run(result)
    if isinstance(result, BatchResult):
        return render_batch_result(result, job_id=job_id)
    assert isinstance(result, TrainResult)
    return training.render(result, job_id=job_id)
