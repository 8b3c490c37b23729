"""Scores pairs of texts with an NLI model; a long premise is cut into windows, and the best one
counts.

Letters: V premises, W windows (W ≥ V), H hypotheses, K hypotheses that a premise is compared with.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from workers.embedding.long_texts import SharedTokenizer
from workers.embedding.windows import windows
from workers.microbatching.microbatcher import Microbatcher
from workers.models.port import CONTRARY, ENTAILMENT, PairEncoder, Rows, TextPair
from workers.work_context import WorkContext

_LEAST_PREMISE = 4  # a hypothesis leaves at least one of so many parts of a window to the premise
Places = npt.NDArray[np.intp]


class PairScorer(SharedTokenizer):
    """What engines use: one per loaded NLI model, safe for any thread.

    Args:
        encoder: the model; only its `tokenise` is called here.
        batcher: the batcher in front of that model.
    """

    def __init__(self, encoder: PairEncoder, batcher: Microbatcher) -> None:
        super().__init__(encoder.tokenise)
        self.encoder = encoder
        self.batcher = batcher

    @property
    def max_hypothesis_tokens(self) -> int:
        """The most tokens of a hypothesis; what is left of a window is for the premise."""
        return self.encoder.window - self.encoder.window // _LEAST_PREMISE

    def windows_of(self, premise: Sequence[int], hypotheses: Sequence[Sequence[int]]) -> int:
        """How many windows a premise has beside the longest of these hypotheses."""
        return len(windows(premise, self._room(hypotheses)))

    def compare(
        self,
        premises: Sequence[Sequence[int]],
        hypotheses: Sequence[Sequence[int]],
        context: WorkContext,
        *,
        which: Places | None = None,
    ) -> Future[Rows]:
        """The logits of entailment and of its contrary, of V premises with their hypotheses.

        All windows of all premises leave as much room as the longest hypothesis needs. Of a premise
        with several windows, the one that entails the hypothesis most counts: the highest
        difference of the two logits.

        Args:
            premises: V lists of content ids of any length.
            hypotheses: H lists of at most `max_hypothesis_tokens` content ids.
            context: decides their turn.
            which: (V, K) hypotheses of each premise, by their place; None: all, K = H.

        Returns:
            A future of (V, K, 2) float32. Cancelling it takes the work out of the queue.

        Raises:
            Unavailable: The model has stopped.
        """
        if which is None:
            which = np.tile(np.arange(len(hypotheses)), (len(premises), 1))
        room = self._room(hypotheses)
        second = [array("i", ids).tobytes() for ids in hypotheses]
        pairs: list[TextPair] = []
        counts: list[int] = []  # windows of each premise and hypothesis, (V * K)
        for ids, places in zip(premises, which.tolist(), strict=True):
            cut = [array("i", window).tobytes() for window in windows(ids, room)]
            for place in places:
                pairs += [TextPair(window, second[place]) for window in cut]
            counts += [len(cut)] * len(places)
        shape = (*which.shape, 2)
        return self.batcher.submit(
            pairs,
            context,
            finish=lambda rows: best_windows(rows, np.array(counts, np.intp)).reshape(shape),
        )

    def _room(self, hypotheses: Sequence[Sequence[int]]) -> int:
        return self.encoder.window - max(map(len, hypotheses), default=0)


def best_windows(rows: Rows, counts: Places) -> Rows:
    """Of groups of rows, (W, 2) side by side, the one whose entailment leads its contrary most.

    >>> rows = np.array([[0, 1], [3, 1], [2, 2]], np.float32)
    >>> best_windows(rows, np.array([2, 1])).tolist()
    [[3.0, 1.0], [2.0, 2.0]]
    """
    if len(rows) == len(counts):
        return rows
    groups = np.repeat(np.arange(len(counts)), counts)  # (W,)
    lead = rows[:, ENTAILMENT] - rows[:, CONTRARY]
    starts = np.cumsum(counts) - counts
    best: Rows = rows[np.lexsort((-lead, groups))[starts]]
    return best
