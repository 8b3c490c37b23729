"""Zero-shot classification: what both inline calls and durable parts do with a request.

`begin` tokenises, checks and hands windows to the micro-batcher; `Pending.result` turns the vectors
into answers. In between nobody waits but the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain

import numpy as np

from shared.catalogue import ModelEntry
from shared.errors import DeadlineExceeded, Unavailable
from shared.limits import Limits
from shared.types import Answer, ClassifyRequest, ClassifyResult, Priority, Question, Usage
from workers.core import prompts, zero_shot
from workers.core.selection import DEFAULT_KEY, NONE, select, thresholds
from workers.embedding import Embedder
from workers.models.port import Rows

Labels = tuple[zero_shot.LabelSet, int]
"""One question's labels as a model sees them, and their tokens."""

_LABELS_KEPT = 20_000  # rows of finished label sets; 30 MB at D = 384
_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer
_LABELS_WAIT_S = 60.0  # labels are submitted before the items, so they are there or nearly


@dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded model with its entry in the catalogue."""

    entry: ModelEntry
    embedder: Embedder


class Classify:
    """Begins classify requests on the models of this process."""

    def __init__(self, models: Mapping[str, Model], limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self._label_sets = _LabelSets(_LABELS_KEPT)

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
        label_sets = [
            self._label_set(model, request, question, priority) for question in request.questions
        ]
        return Pending(
            request=request,
            input_tokens=sum(map(len, tokens)),
            label_sets=label_sets,
            vectors=model.embedder.embed(tokens, priority=priority, deadline=deadline),
        )

    def _label_set(
        self,
        model: Model,
        request: ClassifyRequest,
        question: Question,
        priority: Priority,
    ) -> Future[Labels]:
        """The question's labels: remembered, or on their way through the model."""
        given = request.descriptions
        described = tuple(given.get(label, "") for label in question.labels) if given else ()
        key = (
            model.entry.name,
            request.template,
            question.labels,
            described,
            request.multi_label,
        )
        known = self._label_sets.get(key)
        if known is not None:
            return known
        entry = model.entry
        texts = prompts.prompts(
            question.labels,
            entry.templates,
            template=request.template,
            descriptions=request.descriptions,
        )
        null_labels = prompts.NULL_LABELS if request.multi_label else ()
        nulls = prompts.prompts(null_labels, entry.templates, template=request.template)
        tokens = sum(map(len, model.embedder.tokenise([*question.labels, *described])))
        made: Future[Labels] = Future()

        def finish(embedded: Future[Rows]) -> None:
            try:
                rows = embedded.result()
                forms = len(texts[0])
                labels = prompts.average(rows[: len(texts) * forms], forms)
                null = prompts.average(rows[len(texts) * forms :], forms) if nulls else None
                measured = zero_shot.LabelSet.measure(labels, scale=_scale(entry), null=null)
            except BaseException as exc:  # noqa: BLE001  whoever waits for the labels gets it
                self._label_sets.forget(key)
                made.set_exception(exc)
            else:
                made.set_result((measured, tokens))

        model.embedder.embed_prompts(
            [*chain.from_iterable(texts), *chain.from_iterable(nulls)],
            priority=priority,  # no deadline: the set is shared with whoever asks meanwhile
        ).add_done_callback(finish)
        self._label_sets.put(key, made, rows=len(question.labels))
        return made


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A request whose items are on their way through the model."""

    request: ClassifyRequest
    input_tokens: int
    label_sets: list[Future[Labels]]
    vectors: Future[Rows]

    def cancel(self) -> None:
        """Take what still waits out of the queue; `result` then raises CancelledError."""
        self.vectors.cancel()

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers, once the vectors are there.

        Raises:
            DeadlineExceeded: They did not come in time.
            Unavailable: The model has stopped.
        """
        try:
            x = self.vectors.result(timeout_s)  # (N, D)
            label_sets = [future.result(_LABELS_WAIT_S) for future in self.label_sets]
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


def _scale(entry: ModelEntry) -> zero_shot.Scale:
    return zero_shot.Scale(
        temperature=entry.temperature, by_spread=entry.by_spread, null_bias=entry.null_bias
    )


class _LabelSets:
    """The label sets used last, bounded by their rows; a set on its way is shared, not remade."""

    def __init__(self, rows: int) -> None:
        self._most = rows
        self._held = 0
        self._lock = threading.Lock()
        self._sets: OrderedDict[object, tuple[Future[Labels], int]] = OrderedDict()

    def get(self, key: object) -> Future[Labels] | None:
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                return None
            self._sets.move_to_end(key)
            return found[0]

    def put(self, key: object, made: Future[Labels], *, rows: int) -> None:
        with self._lock:
            if made.done() and made.exception() is not None:
                return
            self._sets[key] = (made, rows)
            self._held += rows
            while self._held > self._most and len(self._sets) > 1:
                _, (_, freed) = self._sets.popitem(last=False)
                self._held -= freed

    def forget(self, key: object) -> None:
        with self._lock:
            found = self._sets.pop(key, None)
            if found is not None:
                self._held -= found[1]
