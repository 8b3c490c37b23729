"""A worker that waits once at each step of a retraining run, until a test lets it go on.

A step that is reached has a file in the folder `NIGHT_STEPS`; a file `<step>.go` ends the wait. A
step waits once for each time that the test deletes both files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.classifier_record import Classifier
from shared.retraining import RunStatus
from workers.handlers.retrain import conclude, run
from workers.main import main

STEPS = ("collecting", "training", "evaluating", "before_promotion", "after_promotion")
_LIMIT_S = 60.0


def reach(step: str) -> None:
    folder = Path(os.environ["NIGHT_STEPS"])
    if not (folder / "armed").exists() or (folder / "armed").read_text() != step:
        return
    (folder / step).touch()
    limit = time.monotonic() + _LIMIT_S
    while not (folder / f"{step}.go").exists() and time.monotonic() < limit:
        time.sleep(0.02)


def _paused(phase: Callable[..., None]) -> Callable[..., None]:
    def paused(night: run._Night, status: RunStatus) -> None:
        phase(night, status)
        reach(status)

    return paused


def _promoting(promote: Callable[..., Classifier]) -> Callable[..., Classifier]:
    def promoting(*args: Any, **said: Any) -> Classifier:
        reach("before_promotion")
        record = promote(*args, **said)
        reach("after_promotion")
        return record

    return promoting


if __name__ == "__main__":
    run._Night._phase = _paused(run._Night._phase)  # type: ignore[method-assign]
    conclude.promote = _promoting(conclude.promote)  # type: ignore[assignment]
    main()
