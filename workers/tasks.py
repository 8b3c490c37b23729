"""The Celery entry point: one task, `drain`, without a line of business in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.messages import DRAIN
from workers.consumer import Consumer

if TYPE_CHECKING:
    from celery import Celery


def register(app: Celery, drain: Consumer) -> None:
    """Give the app the task that doorbells name."""

    @app.task(name=DRAIN, ignore_result=True)  # type: ignore[untyped-decorator]
    def _drain(queue: str) -> None:
        drain.attend(queue)
