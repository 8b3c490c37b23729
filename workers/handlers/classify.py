"""Zero-shot classification: what both inline calls and durable parts do with a request.

`begin` tokenises, checks and hands windows to the micro-batcher; `Pending.result` turns the vectors
into answers. In between nobody waits but the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.errors import DeadlineExceeded, Unavailable
from shared.limits import Limits
from shared.types import Answer, ClassifyRequest, ClassifyResult, Priority, Question, Usage
from workers.core import zero_shot
from workers.core.selection import DEFAULT_KEY, NONE, select, thresholds
from workers.embedding import Model
from workers.labels import Labels, LabelSets
from workers.models.port import Rows

_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer


class Classify:
    """Begins classify requests on the models of this process."""

    def __init__(self, models: Mapping[str, Model], limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self._label_sets = LabelSets(limits)

    def begin(
        self, request: ClassifyRequest, *, priority: Priority, deadline: float | None
    ) -> Pending:
        """Hand the request's windows to its model.

        Args:
            request: within the limits, but for the tokens of its items.
            priority: the class its windows wait in.
            deadline: on the monotonic clock, in seconds, or None.

        Raises:
            TokenLimitExceeded: An item is too long.
            InvalidRequest: The template has no placeholder.
            Unavailable: This process does not hold the model, or the model has stopped.
        """
        model = self._models.get(request.model)
        if model is None:
            raise Unavailable(f"this worker does not hold {request.model}", retry_after_s=5)
        tokens = model.embedder.tokenise([item.text for item in request.items])
        for index, ids in enumerate(tokens):
            self._limits.check_tokens(index, len(ids))
        window = model.embedder.encoder.window
        label_sets = [
            self._label_sets.of(model, request, question, priority)
            for question in request.questions
        ]
        return Pending(
            request=request,
            input_tokens=sum(map(len, tokens)),
            windowed=tuple(i for i, ids in enumerate(tokens) if len(ids) > window),
            label_sets=label_sets,
            vectors=model.embedder.embed(tokens, priority=priority, deadline=deadline),
        )


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A request whose items are on their way through the model."""

    request: ClassifyRequest
    input_tokens: int
    windowed: tuple[int, ...]
    label_sets: list[Future[Labels]]
    vectors: Future[Rows]

    def cancel(self) -> None:
        """Take what still waits out of the queue; `result` then raises CancelledError."""
        self.vectors.cancel()

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once vectors and labels have all come, or failed; in the thread of the last one."""
        waiting: list[Future[Any]] = [self.vectors, *self.label_sets]
        left = len(waiting)
        lock = threading.Lock()

        def one_more(_: object) -> None:
            nonlocal left
            with lock:
                left -= 1
                ready = left == 0
            if ready:
                call()

        for future in waiting:
            future.add_done_callback(one_more)

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers, once the vectors are there.

        Raises:
            DeadlineExceeded: They did not come in time.
            Unavailable: The model has stopped.
        """
        try:
            x = self.vectors.result(timeout_s)  # (N, D)
            label_sets = [future.result(timeout_s) for future in self.label_sets]
        except TimeoutError:
            raise DeadlineExceeded("the model did not answer in time") from None
        by_question = [
            self._answers(x, question, labels)
            for question, (labels, _) in zip(self.request.questions, label_sets, strict=True)
        ]
        return ClassifyResult(
            answers=tuple(zip(*by_question, strict=True)),
            usage=Usage(
                input_tokens=self.input_tokens,
                label_tokens=sum(tokens for _, tokens in label_sets),
            ),
            windowed=self.windowed,
        )

    def _answers(self, x: Rows, question: Question, labels: zero_shot.LabelSet) -> list[Answer]:
        request = self.request
        scores = labels.scores(x, mode=request.scores, multi_label=request.multi_label)  # (N, L)
        least = None
        if request.threshold is not None:
            wanted = dict(request.threshold.per_label)
            if request.threshold.default is not None:
                wanted[DEFAULT_KEY] = request.threshold.default
            least = thresholds(question.labels, wanted)
        chosen = select(
            scores, thresholds=least, top_k=request.top_k, multi_label=request.multi_label
        )
        rows = np.round(scores.astype(np.float64), _DECIMALS).tolist()
        best = [index if index != NONE else None for index in chosen.best.tolist()]
        if bool(chosen.keep.all()):
            return [
                Answer.model_construct(best=b, scores=tuple(row))
                for b, row in zip(best, rows, strict=True)
            ]
        return [
            Answer.model_construct(
                best=b, scores=tuple(s if kept else None for s, kept in zip(row, keep, strict=True))
            )
            for b, row, keep in zip(best, rows, chosen.keep.tolist(), strict=True)
        ]
