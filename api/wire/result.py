"""The body of an answer, by the kind of work: only classifying has dialects."""

from __future__ import annotations

from typing import Any

from api.wire import evaluation, train
from api.wire.job import render_batch_result
from shared.batches import BatchResult
from shared.dialects.pick import named
from shared.messages import Body, Result
from shared.types import ClassifyRequest, ClassifyResult, EvaluateResult


def render(dialect: str, asked: Body, job_id: str, result: Result) -> dict[str, Any]:
    """What a call that asked this is answered."""
    if isinstance(result, ClassifyResult):
        assert isinstance(asked, ClassifyRequest)
        return named(dialect).render(asked, result)
    if isinstance(result, EvaluateResult):
        return evaluation.render(result, job_id=job_id)
    if isinstance(result, BatchResult):
        return render_batch_result(result, job_id=job_id)
    return train.render(result, job_id=job_id)
