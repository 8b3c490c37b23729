"""The report of a dry run: a forecast of a batch and its cost."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.openai.batch import BatchFaults, render_faults
from shared.batches import DryRunResult


class DryRunCounts(BaseModel):
    """Rows of the file."""

    total: int
    valid: int = Field(description="Rows that would be processed.")
    invalid: int = Field(description="Rows that would fail; `errors` gives the reasons.")


class UsageEstimate(BaseModel):
    """Tokens that would be charged."""

    tokens: int
    exact: bool = Field(description="Whether the tokens of every row were counted.")
    sampled_rows: int = Field(description="Number of rows whose tokens were counted.")


class DryRunAnswer(BaseModel):
    """Forecast of a batch."""

    object: Literal["batch.dry_run"]
    valid: bool = Field(
        description="Whether the batch can run: its file can be read. Rows that would fail do not "
        "affect it; they are counted in `request_counts.invalid`."
    )
    format: str | None = Field(description="Detected format of the input file.")
    request_counts: DryRunCounts
    errors: BatchFaults | None = Field(
        description="Why the file cannot be read, or the first 100 rows that would fail."
    )
    usage_estimate: UsageEstimate
    estimated_seconds: float | None = Field(
        description="Estimate from the recent rate of the running workers; null if it is unknown."
    )


def render_dry_run(result: DryRunResult) -> dict[str, Any]:
    """The report."""
    return {
        "object": "batch.dry_run",
        "valid": result.error is None,
        "format": result.format,
        "request_counts": {
            "total": result.total,
            "valid": result.total - result.bad_count,
            "invalid": result.bad_count,
        },
        "errors": render_faults(result.bad, result.error),
        "usage_estimate": {
            "tokens": result.tokens,
            "exact": result.exact,
            "sampled_rows": result.sampled,
        },
        "estimated_seconds": result.seconds,
    }
