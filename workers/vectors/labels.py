"""A question's labels as a model sees them: prompts embedded, averaged, measured, and remembered.

The sets used last are kept, so that 256 labels cost nothing the second time. A set on its way
through the model is shared with whoever asks meanwhile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import chain

from shared.limits import Limits
from shared.types import ClassifyRequest, Priority, Question
from workers.core import prompts, zero_shot
from workers.futures import without_variables
from workers.models.port import Rows
from workers.vectors.embedding import Model

Labels = tuple[zero_shot.LabelSet, int]
"""A measured label set, and the tokens of its labels and descriptions."""

_MOST_ROWS = 20_000  # of all sets kept; 30 MB at D = 384


def embed_labels(
    model: Model,
    labels: Sequence[str],
    *,
    priority: Priority,
    account: str = "",
    pictures: bool = False,
) -> Future[Rows]:
    """The vectors that labels have before there are examples: (L, D), unit rows.

    Raises:
        Unavailable: The model has stopped.
    """
    templates = _templates(model, pictures)
    texts = prompts.prompts(labels, templates)  # (L, K)
    embedded = model.embedder.embed_prompts(
        [*chain.from_iterable(texts)], priority=priority, account=account
    )
    made: Future[Rows] = Future()

    def finish(rows: Future[Rows]) -> None:
        try:
            made.set_result(prompts.average(rows.result(), len(templates)))
        except BaseException as exc:  # noqa: BLE001  whoever waits for the labels gets it
            made.set_exception(without_variables(exc))

    embedded.add_done_callback(finish)
    return made


def _templates(model: Model, pictures: bool) -> tuple[str, ...]:
    return model.entry.picture_templates if pictures else model.entry.templates


def scale_of(model: Model, *, pictures: bool = False) -> zero_shot.Scale:
    """What the model's cosines of labels with texts mean, or with pictures."""
    entry = model.entry
    if pictures:
        assert model.pictures is not None
        return zero_shot.Scale(
            temperature=1 / model.pictures.logit_scale, by_spread=False, null_bias=entry.null_bias
        )
    return zero_shot.Scale(
        temperature=entry.temperature, by_spread=entry.by_spread, null_bias=entry.null_bias
    )


class LabelSets:
    """Label sets by model, labels and how they are prompted; safe for any thread."""

    def __init__(self, limits: Limits, *, most_rows: int = _MOST_ROWS) -> None:
        self._limits = limits
        self._most_rows = most_rows
        self._rows = 0
        self._lock = threading.Lock()
        self._sets: OrderedDict[object, tuple[Future[Labels], int]] = OrderedDict()

    def of(
        self,
        model: Model,
        request: ClassifyRequest,
        question: Question,
        priority: Priority,
        *,
        account: str = "",
        pictures: bool = False,
    ) -> Future[Labels]:
        """The question's labels: remembered, or on their way through the model.

        `pictures` says what they are to be compared with, instead of texts.

        Raises:
            InvalidRequest: The template has no place for the label, or several.
            TokenLimitExceeded: Labels and descriptions are too long together.
            Unavailable: The model has stopped.
        """
        given = request.descriptions
        described = tuple(given.get(label, "") for label in question.labels) if given else ()
        how = (model.entry.name, request.template, request.multi_label, pictures)
        key = (*how, question.labels, described)
        known = self._get(key)
        if known is not None:
            return known
        made = _make(model, request, question, described, priority, self._limits, pictures, account)
        self._put(key, made, rows=len(question.labels))
        return made

    def _get(self, key: object) -> Future[Labels] | None:
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                return None
            if found[0].done() and found[0].exception() is not None:
                self._rows -= self._sets.pop(key)[1]  # it failed; whoever asks now tries again
                return None
            self._sets.move_to_end(key)
            return found[0]

    def _put(self, key: object, made: Future[Labels], *, rows: int) -> None:
        with self._lock:
            if key in self._sets:
                return  # two asked at once; one is enough
            self._sets[key] = (made, rows)
            self._rows += rows
            while self._rows > self._most_rows and len(self._sets) > 1:
                _, (_, freed) = self._sets.popitem(last=False)
                self._rows -= freed


def _make(
    model: Model,
    request: ClassifyRequest,
    question: Question,
    described: tuple[str, ...],
    priority: Priority,
    limits: Limits,
    pictures: bool,
    account: str,
) -> Future[Labels]:
    """Send a label set through the model."""
    templates = _templates(model, pictures)
    texts = prompts.prompts(
        question.labels,
        templates,
        template=request.template,
        descriptions=request.descriptions,
    )  # (L, K)
    null_labels = prompts.NULL_LABELS if request.multi_label else ()
    nulls = prompts.prompts(null_labels, templates, template=request.template)  # (M, K)
    scale = scale_of(model, pictures=pictures)
    tokens = sum(map(len, model.embedder.tokenise([*question.labels, *described])))
    limits.check_label_tokens(question.group, tokens)
    made: Future[Labels] = Future()

    def finish(embedded: Future[Rows]) -> None:
        try:
            rows = embedded.result()
            forms = len(texts[0])
            labels = prompts.average(rows[: len(texts) * forms], forms)
            null = prompts.average(rows[len(texts) * forms :], forms) if nulls else None
            measured = zero_shot.LabelSet.measure(labels, scale=scale, null=null)
        except BaseException as exc:  # noqa: BLE001  whoever waits for the labels gets it
            made.set_exception(without_variables(exc))
        else:
            made.set_result((measured, tokens))

    model.embedder.embed_prompts(
        [*chain.from_iterable(texts), *chain.from_iterable(nulls)],
        priority=priority,  # no deadline: the set is shared with whoever asks meanwhile
        account=account,
    ).add_done_callback(finish)
    return made
