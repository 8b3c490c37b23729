"""NLI: each text is a premise, each label a hypothesis, and a cross-encoder compares the two."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from shared.errors import FieldError, PigeonholeError, TokenLimitExceeded
from shared.limits import Limits
from shared.model_catalogue import ModelEntry
from shared.types import ClassifyRequest, Item, LabelsAlike, Question
from shared.validation import shown
from workers.core import prompts
from workers.core.pair_scores import pair_scores
from workers.core.zero_shot import Mode
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.long_texts import TokenIds
from workers.embedding.pooling import ViewBatch
from workers.futures import mapped, then, without_variables
from workers.models.port import Rows
from workers.scoring.scores import Scores
from workers.work_context import WorkContext


@dataclass(frozen=True, kw_only=True)
class Premises:
    """The texts of a request that can be compared, as tokens of an NLI model: V of N items."""

    views: ViewBatch
    tokens: TokenIds


@dataclass(frozen=True, kw_only=True)
class Hypotheses:
    """The labels of a question as texts that a premise may entail, as tokens of an NLI model."""

    tokens: TokenIds
    label_tokens: int  # of labels and descriptions, without the template


class NliEngine:
    """Scores by NLI models alone; safe for any thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def read(
        self,
        model: LoadedModel,
        request: ClassifyRequest,
        context: WorkContext,
        *,
        aside: Mapping[int, PigeonholeError],
        documents: Container[int] = (),
    ) -> Future[Premises]:
        """The premises of a request; items `aside` have failed before, by index. The texts of
        `documents` were measured when they were read.

        Raises:
            TokenLimitExceeded: A text is too long; by the future, where it takes turns.
            InvalidRequest: The model compares no pairs.
        """
        texts = [item.text for item in request.items]
        tokens = model.scorer.tokenised(texts, context)
        return mapped(tokens, partial(self._premises, model, request, aside, documents))

    def begin(
        self,
        model: LoadedModel,
        request: ClassifyRequest,
        question: Question,
        premises: Future[Premises],
        context: WorkContext,
    ) -> Future[Scores]:
        """The scores of a question's labels. Cancelling the future takes the work out of the queue.

        Raises:
            InvalidRequest: The template has no placeholder, or several.
            TokenLimitExceeded: Labels and descriptions are too long, together or one of them.
            Unavailable: The model has stopped; also by the future.
        """
        hypotheses = hypotheses_of(model, request, question, self._limits)

        def compare(read: Premises) -> Future[Scores]:
            logits = model.scorer.compare(read.tokens, hypotheses.tokens, context)
            return mapped(
                logits,
                lambda rows: NliScores(
                    question=question,
                    logits=rows,
                    label_tokens=hypotheses.label_tokens,
                    entry=model.entry,
                ),
            )

        return then(premises, compare)

    def _premises(
        self,
        model: LoadedModel,
        request: ClassifyRequest,
        aside: Mapping[int, PigeonholeError],
        documents: Container[int],
        tokens: TokenIds,
    ) -> Premises:
        failed = dict(aside)
        for index, ids in enumerate(tokens):
            if index in documents:
                continue
            try:
                self._limits.check_tokens(index, len(ids))
            except PigeonholeError as exc:
                if request.errors != "per_item":
                    raise
                failed.setdefault(index, without_variables(exc))
        window = model.scorer.encoder.window
        kept = compared_items(request.items, failed)
        places = iter(range(len(kept)))
        items = tuple(() if i in failed else (next(places),) for i in range(len(tokens)))
        views = ViewBatch(
            x=np.zeros((len(kept), 0), np.float32),
            of_images=np.zeros(len(kept), np.bool_),
            text_tokens=np.array([len(tokens[i]) for i in kept], np.intp),
            items=items if failed else None,
            tokens=tuple(0 if i in failed else len(ids) for i, ids in enumerate(tokens)),
            windowed=tuple(i for i in kept if len(tokens[i]) > window),
            failed=failed,
        )
        return Premises(views=views, tokens=[tokens[i] for i in kept])


def compared_items(items: Sequence[Item], failed: Mapping[int, PigeonholeError]) -> list[int]:
    """The places of the items that are compared: each is one view, in this order."""
    return [index for index in range(len(items)) if index not in failed]


def hypotheses_of(
    model: LoadedModel, request: ClassifyRequest, question: Question, limits: Limits
) -> Hypotheses:
    """The hypotheses of a question's labels, by the request's template or that of the model.

    Raises:
        InvalidRequest: The template has no placeholder, or several.
        TokenLimitExceeded: Labels and descriptions are too long, together or one of them.
    """
    texts = prompts.prompts(
        question.labels,
        (model.entry.hypothesis,),
        template=request.template,
        descriptions=request.descriptions,
    )  # (L, 1)
    scorer = model.scorer
    tokens = scorer.tokenise([text for (text,) in texts])
    most = scorer.max_hypothesis_tokens
    for label, ids in zip(question.labels, tokens, strict=True):
        if len(ids) > most:
            field = f"descriptions[{shown(label)}]" if label in request.descriptions else "labels"
            other = "" if request.engine_fallback else ', or send "engine": "embedding"'
            message = (
                f"the label {shown(label)} has {len(ids)} tokens with its description and "
                f"template; at most {most} fit beside a text in the model {model.entry.name}: "
                f"shorten it{other}"
            )
            fields = (FieldError(field=field, message=message),)
            raise TokenLimitExceeded(f"{field}: {message}", fields=fields)
    described = [request.descriptions.get(label, "") for label in question.labels]
    label_tokens = sum(map(len, scorer.tokenise([*question.labels, *described])))
    limits.check_label_tokens(question.group, label_tokens)
    return Hypotheses(tokens=tokens, label_tokens=label_tokens)


@dataclass(frozen=True, kw_only=True)
class NliScores:
    """Of V texts, by the logits of their pairs."""

    question: Question
    logits: Rows  # (V, L, 2)
    label_tokens: int
    entry: ModelEntry
    alike: tuple[LabelsAlike, ...] = ()  # which only embeddings tell

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the question."""
        return self.question.labels

    def scores(self, *, mode: Mode = "calibrated", multi_label: bool = False) -> Rows:
        """(V, L)."""
        return pair_scores(
            self.logits,
            temperature=self.entry.temperature,
            mode=mode,
            multi_label=multi_label,
        )

    def fits(self) -> Rows:
        """None: a request that needs them is refused before (`shared.engine_resolution`)."""
        raise NotImplementedError("NLI measures no fit")
