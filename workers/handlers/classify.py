"""Classification, zero-shot or by a classifier: what inline calls and durable parts both do.

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

from shared.errors import DeadlineExceeded
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import priority_of
from shared.types import Answer, ClassifyRequest, ClassifyResult, Priority, Usage
from workers.classifiers import Classifiers
from workers.core import zero_shot
from workers.core.metrics import margins
from workers.core.selection import DEFAULT_KEY, NONE, select, thresholds
from workers.embedding import Model
from workers.handlers.lesson import PART_LIMIT_S, check_revision, model_of
from workers.labels import Labels, LabelSets
from workers.leases import Hold
from workers.models.port import Rows
from workers.weights import Trained

_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer


class Classify:
    """Begins classify requests on the models of this process."""

    def __init__(
        self, models: Mapping[str, Model], limits: Limits, classifiers: Classifiers
    ) -> None:
        self._models = models
        self._limits = limits
        self._label_sets = LabelSets(limits)
        self._classifiers = classifiers

    def run(self, job: Job, body: ClassifyRequest, hold: Hold) -> ClassifyResult:
        """Classify the items of a durable job.

        Raises:
            PigeonholeError: As for `begin` and `Pending.result`.
            CancelledError: The job was cancelled, or the lease lost.
        """
        pending = self.begin(body, priority=priority_of(job.queue), deadline=None)
        hold.on_end(pending.cancel)
        return pending.result(timeout_s=PART_LIMIT_S)

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
        model = model_of(self._models, request.model)
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
            model=model,
            token_counts=tuple(map(len, tokens)),
            windowed=tuple(i for i, ids in enumerate(tokens) if len(ids) > window),
            label_sets=label_sets,
            classifier=(
                None if request.classifier is None else self._classifiers.of(request.classifier)
            ),
            vectors=model.embedder.embed(tokens, priority=priority, deadline=deadline),
        )


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A request whose items are on their way through the model."""

    request: ClassifyRequest
    model: Model
    token_counts: tuple[int, ...]  # of each item
    windowed: tuple[int, ...]
    label_sets: list[Future[Labels]]
    classifier: Future[Trained] | None
    vectors: Future[Rows]

    def cancel(self) -> None:
        """Take what still waits out of the queue; `result` then raises CancelledError."""
        self.vectors.cancel()

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once vectors and labels have all come, or failed; in the thread of the last one."""
        waiting: list[Future[Any]] = [self.vectors, *self.label_sets]
        waiting += [] if self.classifier is None else [self.classifier]
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
            NotFound: The version of the classifier is no longer kept.
            Conflict: It was trained with another revision of the model.
            Unavailable: The model has stopped, or the store is away.
        """
        try:
            x = self.vectors.result(timeout_s)  # (N, D)
            label_sets = [future.result(timeout_s) for future in self.label_sets]
            trained = None if self.classifier is None else self.classifier.result(timeout_s)
        except TimeoutError:
            raise DeadlineExceeded("the model did not answer in time") from None
        if trained is not None:
            check_revision(trained, self.model)
            by_question = [self._answers(x, trained.labels, trained)]
        else:
            by_question = [
                self._answers(x, question.labels, labels)
                for question, (labels, _) in zip(self.request.questions, label_sets, strict=True)
            ]
        return ClassifyResult(
            answers=tuple(zip(*by_question, strict=True)),
            usage=Usage(
                input_tokens=sum(self.token_counts),
                label_tokens=sum(tokens for _, tokens in label_sets),
            ),
            windowed=self.windowed,
            labels=None if trained is None else trained.labels,
        )

    def _answers(
        self, x: Rows, labels: tuple[str, ...], scorer: zero_shot.LabelSet | Trained
    ) -> list[Answer]:
        request = self.request
        scores = scorer.scores(x, mode=request.scores, multi_label=request.multi_label)  # (N, L)
        least = None
        if request.threshold is not None:
            wanted = dict(request.threshold.per_label)
            if request.threshold.default is not None:
                wanted[DEFAULT_KEY] = request.threshold.default
            least = thresholds(labels, wanted)
        chosen = select(
            scores, thresholds=least, top_k=request.top_k, multi_label=request.multi_label
        )
        rows = _rounded(scores)
        best = [index if index != NONE else None for index in chosen.best.tolist()]
        ahead: list[float | None] = [None] * len(x)
        if request.return_uncertainty:
            ahead = _rounded(margins(scorer.scores(x)))
        if not bool(chosen.keep.all()):
            rows = [
                [score if kept else None for score, kept in zip(row, keep, strict=True)]
                for row, keep in zip(rows, chosen.keep.tolist(), strict=True)
            ]
        return [
            Answer.model_construct(best=b, scores=tuple(row), margin=margin)
            for b, row, margin in zip(best, rows, ahead, strict=True)
        ]


def _rounded(numbers: Rows) -> Any:
    """As lists, with as many decimals as say something."""
    return np.round(numbers.astype(np.float64), _DECIMALS).tolist()
