"""Embeds the labels of a question: their prompts are embedded and averaged, and the result is
cached.

With the cache, 256 labels cost nothing the second time. Concurrent requests for one set of labels
share one computation.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain

import numpy as np

from shared.byte_cache import OVERHEAD_BYTES, ByteCache
from shared.limits import Limits
from shared.types import ClassifyRequest, LabelsAlike, Question
from workers.core import fit, prompts, prototypes, zero_shot
from workers.core.data_warnings import similar_labels
from workers.embedding.loaded_model import LoadedModel
from workers.futures import done, without_variables
from workers.models.port import Rows
from workers.work_context import WorkContext


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A question's labels, measured.

    `tokens` are those of labels, descriptions and examples. `described` is there for requests that
    need a fit. `alike`: pairs that are nearly one to the model, the closest first.
    """

    scored: zero_shot.LabelSet
    tokens: int
    described: fit.Described | None
    alike: tuple[LabelsAlike, ...]

    @property
    def size_bytes(self) -> int:
        """What the set takes in memory, beside its texts."""
        null = 0 if self.described is None else self.described.null.nbytes
        arrays = self.scored.rows.nbytes + self.scored.null.nbytes + null
        return _OBJECT_BYTES + arrays + _PAIR_BYTES * len(self.alike)


_DECIMALS = 6
_OBJECT_BYTES, _PAIR_BYTES = 512, 560  # of a set and of a pair of `alike`, beside contents
_CACHE_BYTES = 32 * 2**20  # of all sets kept: 15,000 labels at D = 384


def embed_labels(
    model: LoadedModel,
    labels: Sequence[str],
    context: WorkContext,
    *,
    images: bool = False,
) -> Future[Rows]:
    """The vectors that labels have before there are examples: (L, D), unit rows.

    Raises:
        Unavailable: The model has stopped.
    """
    templates = _templates(model, images)
    texts = prompts.prompts(labels, templates)  # (L, K)
    embedded = model.embedder.embed_prompts([*chain.from_iterable(texts)], context)
    made: Future[Rows] = Future()

    def finish(rows: Future[Rows]) -> None:
        try:
            made.set_result(prompts.average(rows.result(), len(templates)))
        except BaseException as exc:  # noqa: BLE001  the waiters for the labels get it
            made.set_exception(without_variables(exc))

    embedded.add_done_callback(finish)
    return made


def _templates(model: LoadedModel, images: bool) -> tuple[str, ...]:
    return model.entry.image_templates if images else model.entry.templates


def scale_of(model: LoadedModel, *, images: bool = False) -> zero_shot.CosineCalibration:
    """What the model's cosines of labels with texts mean, or with images."""
    entry = model.entry
    if images:
        assert model.images is not None
        return zero_shot.CosineCalibration(
            temperature=1 / model.images.logit_scale, by_spread=False, null_bias=entry.null_bias
        )
    return zero_shot.CosineCalibration(
        temperature=entry.temperature,
        by_spread=entry.by_spread,
        null_bias=entry.null_bias,
        related=entry.related,
    )


def charged_texts(request: ClassifyRequest, question: Question) -> list[str]:
    """The texts whose tokens the labels of a question cost."""
    described, examples = request.descriptions, request.examples
    return [
        *(() if request.examples_only else question.labels),
        *(described[label] for label in question.labels if label in described),
        *chain.from_iterable(examples.get(label, ()) for label in question.labels),
    ]


class LabelSets:
    """Label sets by model, labels and how they are prompted; safe for any thread."""

    def __init__(self, limits: Limits, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._making: dict[object, Future[Labels]] = {}
        self._kept = ByteCache[object, Labels]("label_sets", max_bytes=cache_bytes)

    def of(
        self,
        model: LoadedModel,
        request: ClassifyRequest,
        question: Question,
        context: WorkContext,
        *,
        images: bool = False,
    ) -> Future[Labels]:
        """The question's labels: remembered, or on their way through the model.

        `images` says what they are to be compared with, instead of texts.

        Raises:
            InvalidRequest: The template has no place for the label, or several.
            TokenLimitExceeded: Labels and descriptions are too long together.
            Unavailable: The model has stopped.
        """
        given = request.descriptions
        described = tuple(given.get(label, "") for label in question.labels) if given else ()
        mode = (request.multi_label, request.needs_fit, request.examples_only)
        how = (model.entry.name, request.template, mode, images)
        examples = tuple(request.examples.get(label, ()) for label in question.labels)
        key = (*how, question.labels, described, examples)
        known = self._kept.get(key)
        if known is not None:
            return done(known)
        with self._lock:
            making = self._making.get(key)
        if making is not None:
            return making
        texts = charged_texts(request, question)
        made = _make(model, request, question, texts, context, self._limits, images)
        with self._lock:
            self._making[key] = made  # two may have asked at once; either is as good
        kept = (request.template or "", *texts)
        made.add_done_callback(lambda ended: self._keep(key, ended, kept))
        return made

    def _keep(self, key: object, ended: Future[Labels], texts: Sequence[str]) -> None:
        """Keep what was made; of an error nothing, so that the next request tries again.

        Not the future: it keeps its callbacks, and with them the requests that waited for it.
        """
        with self._lock:
            self._making.pop(key, None)
        if ended.exception() is None:
            labels = ended.result()
            size = labels.size_bytes + sum(map(sys.getsizeof, texts))
            self._kept.put(key, labels, size_bytes=size + OVERHEAD_BYTES)


def _make(
    model: LoadedModel,
    request: ClassifyRequest,
    question: Question,
    charged: Sequence[str],
    context: WorkContext,
    limits: Limits,
    images: bool,
) -> Future[Labels]:
    """Send a label set through the model; the texts `charged` are what its tokens are of."""
    templates = _templates(model, images)
    texts = prompts.prompts(
        question.labels,
        templates,
        template=request.template,
        descriptions=request.descriptions,
    )  # (L, K)
    null_labels = prompts.NULL_LABELS if request.multi_label or request.needs_fit else ()
    nulls = prompts.prompts(null_labels, templates, template=request.template)  # (M, K)
    by_label = [request.examples.get(label, ()) for label in question.labels]
    examples = [*chain.from_iterable(by_label)]
    label_worth = 0.0 if request.examples_only else prototypes.LABEL_WORTH
    owners = np.repeat(np.arange(len(by_label)), [*map(len, by_label)])
    scale = scale_of(model, images=images)
    tokens = sum(map(len, model.embedder.tokenise(charged)))
    limits.check_label_tokens(question.group, tokens)
    made: Future[Labels] = Future()

    def finish(embedded: Future[Rows]) -> None:
        try:
            rows = embedded.result()
            forms = len(texts[0])
            labels, null, known = np.split(rows, np.cumsum([len(texts), len(nulls)]) * forms)
            measured = _measured(
                request,
                question,
                prototypes.blend(
                    prompts.average(labels, forms), known, owners, label_worth=label_worth
                ),
                prompts.average(null, forms) if nulls else None,
                scale,
                0.0 if images else model.entry.length_exponent,
                tokens,
            )
        except BaseException as exc:  # noqa: BLE001  the waiters for the labels get it
            made.set_exception(without_variables(exc))
        else:
            made.set_result(measured)

    model.embedder.embed_prompts(
        [*chain.from_iterable(texts), *chain.from_iterable(nulls), *examples], context
    ).add_done_callback(finish)
    return made


def _measured(
    request: ClassifyRequest,
    question: Question,
    rows: Rows,
    null: Rows | None,
    scale: zero_shot.CosineCalibration,
    length_exponent: float,
    tokens: int,
) -> Labels:
    """What scoring and fit need of labels (L, D) and null labels (M, D)."""
    described = None
    if null is not None and request.needs_fit:
        temperature = zero_shot.temperature(rows, scale)
        described = fit.Described.measure(rows, null, temperature=temperature)
    competing = null if request.multi_label else None
    return Labels(
        scored=zero_shot.LabelSet.measure(
            rows, scale=scale, null=competing, length_exponent=length_exponent
        ),
        tokens=tokens,
        described=described,
        alike=tuple(
            LabelsAlike(
                labels=(remark.labels[0], remark.labels[1]),
                value=round(remark.value, _DECIMALS),
            )
            for remark in similar_labels(question.labels, rows)
        ),
    )
