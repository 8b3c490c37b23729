"""The body of an answer, by the kind of work: only classifying has dialects."""

from __future__ import annotations

from typing import Any

from api.schemas import evaluation
from api.schemas.job import render_batch_result
from api.schemas.openai.dry_run import render_dry_run
from shared.batches import BatchResult, DryRunResult
from shared.dialects import training
from shared.dialects.registry import named
from shared.messages import Body, Result
from shared.types import ClassifyRequest, ClassifyResult, EvaluateResult


def render(
    dialect: str, asked: Body, job_id: str, result: Result, *, root: str = ""
) -> dict[str, Any]:
    """What a call that asked this is answered. URLs begin with the `root`."""
    if isinstance(result, ClassifyResult):
        assert isinstance(asked, ClassifyRequest)
        return named(dialect).render(asked, result)
    if isinstance(result, EvaluateResult):
        return evaluation.render(result, job_id=job_id, root=root)
    if isinstance(result, DryRunResult):
        return render_dry_run(result)
    if isinstance(result, BatchResult):
        return render_batch_result(result, job_id=job_id)
    return training.render(result, job_id=job_id)
