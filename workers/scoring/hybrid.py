"""Hybrid: embeddings choose the best labels of each text, and an NLI model judges these again."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from shared.limits import COMPARED_LABELS, Limits
from shared.model_catalogue import ModelEntry
from shared.types import ClassifyRequest, LabelsAlike, Question
from workers.core.pair_scores import Places, best_places, mixed_scores
from workers.core.zero_shot import Mode
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.long_texts import TokenIds
from workers.embedding.pooling import ViewBatch
from workers.futures import gathered, mapped, then
from workers.models.port import Rows
from workers.scoring.nli import compared_items, hypotheses_of
from workers.scoring.scores import Scores
from workers.scoring.zero_shot import ZeroShotEngine
from workers.work_context import WorkContext


class HybridEngine:
    """Scores by an embedding model and an NLI model; safe for any thread.

    One thread of its own chooses the labels: the threads of the models have no time for that.
    """

    def __init__(self, limits: Limits, zero_shot: ZeroShotEngine) -> None:
        self._limits = limits
        self._zero_shot = zero_shot
        self._choice = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hybrid")

    def begin(
        self,
        models: tuple[LoadedModel, LoadedModel],
        request: ClassifyRequest,
        question: Question,
        views: Future[ViewBatch],
        context: WorkContext,
    ) -> Future[Scores]:
        """The scores of a question's labels. Cancelling the future takes the pairs back.

        Args:
            models: the embedding model and the NLI model.
            request: of texts only.
            question: whose labels are scored.
            views: of the embedding model, one for each text that did not fail.
            context: decides the turn of the pairs.

        Raises:
            InvalidRequest: The template has no placeholder, or several.
            TokenLimitExceeded: Labels and descriptions are too long, together or one of them.
            Unavailable: A model has stopped; also by the future.
        """
        embedder, nli = models
        hypotheses = hypotheses_of(nli, request, question, self._limits)
        premises = nli.scorer.tokenised([item.text for item in request.items], context)
        embedded = self._zero_shot.begin(embedder, request, question, views, context)

        def choose(_: None) -> Future[Places]:
            return self._choice.submit(
                lambda: best_places(embedded.result().scores(mode="raw"), COMPARED_LABELS)
            )

        def compare(which: Places) -> Future[Scores]:
            failed = views.result().failed
            texts: TokenIds = [premises.result()[i] for i in compared_items(request.items, failed)]
            logits = nli.scorer.compare(texts, hypotheses.tokens, context, which=which)
            made = partial(HybridScores, embedded=embedded.result(), which=which, entry=nli.entry)
            return mapped(logits, lambda rows: made(logits=rows))

        return then(then(gathered([embedded, premises], lambda: None), choose), compare)


@dataclass(frozen=True, kw_only=True)
class HybridScores:
    """Of V texts: those of embeddings, of which K labels a text are mixed with those of NLI."""

    embedded: Scores
    which: Places  # (V, K)
    logits: Rows  # (V, K, 2)
    entry: ModelEntry  # of the NLI model

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the question."""
        return self.embedded.labels

    @property
    def label_tokens(self) -> int:
        """Of labels and descriptions, once."""
        return self.embedded.label_tokens

    @property
    def alike(self) -> tuple[LabelsAlike, ...]:
        """As the embedding model finds them."""
        return self.embedded.alike

    def scores(self, *, mode: Mode = "calibrated", multi_label: bool = False) -> Rows:
        """(V, L), calibrated: other modes are refused before (`shared.engine_resolution`)."""
        return mixed_scores(
            self.embedded.scores(mode=mode, multi_label=multi_label),
            self.logits,
            self.which,
            weight=self.entry.nli_weight,
            temperature=self.entry.temperature,
            multi_label=multi_label,
        )

    def fits(self) -> Rows:
        """(V, 1), of the embeddings."""
        return self.embedded.fits()
