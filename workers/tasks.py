"""The Celery entry point: one task, `drain`, which only calls the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.messages import DRAIN
from workers.consumer import Consumer

if TYPE_CHECKING:
    from celery import Celery


def register(app: Celery, drain: Consumer) -> None:
    """Register the task of doorbells."""

    @app.task(name=DRAIN, ignore_result=True)  # type: ignore[untyped-decorator]
    def _drain(queue: str) -> None:
        drain.attend(queue)
