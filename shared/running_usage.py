"""The port of running usage: tokens of jobs that have not ended, by account.

It only decides when a job without balance stops, so it may be lost: the charge of a job is made of
its results (`shared.statements`).
"""

from __future__ import annotations

from typing import Protocol


class RunningUsage(Protocol):
    """Counts in Redis. Every method raises `BrokerUnavailable` while it is away."""

    def add(self, account: str, job_id: str, tokens: int) -> None:
        """Add tokens of a finished part of a job."""

    def replace(self, account: str, job_id: str, tokens: int) -> None:
        """Set the tokens of all finished parts of a job."""

    def total(self, account: str) -> int:
        """Tokens of all open jobs of the account."""

    def forget(self, account: str, job_id: str) -> None:
        """Drop a job, which has been charged."""
