"""A loaded model and what it can do: embed texts, embed images, compare pairs of texts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from importlib import metadata

from shared import service_clock
from shared.member_reports import PROBE_ACCOUNT
from shared.model_catalogue import ModelEntry
from shared.types import Priority
from shared.validation import refuse
from workers.embedding.long_texts import SharedTokenizer
from workers.embedding.pairs import PairScorer
from workers.embedding.texts import Embedder, ImageEmbedder
from workers.microbatching.microbatcher import Microbatcher
from workers.models.idle_encoder import IdleEncoder
from workers.work_context import WorkContext

_RELEASE = metadata.version("pigeonhole-server")


@dataclass(kw_only=True)
class ModelUse:
    """When a model was last used: on the monotonic clock, and in seconds since 1970.

    Probes of readiness do not count, else they would keep a model in memory.
    """

    at: float = field(default_factory=time.monotonic)
    clock_at: float | None = None

    def count(self, context: WorkContext) -> None:
        """Count work for an account."""
        if context.account not in {"", PROBE_ACCOUNT}:
            self.at, self.clock_at = time.monotonic(), service_clock.now()


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model of this process: its entry in the catalogue, and its capabilities.

    A model embeds texts, and perhaps images into the same space; or it compares pairs of texts.
    `quantised`: it runs in int8. Its vectors are near those of other precisions, so that a
    classifier trained in one is right in the other; results in a cache are kept apart.
    `idle` is its encoder if that may be offloaded.
    """

    entry: ModelEntry
    texts: Embedder | None = None
    images: ImageEmbedder | None = None
    pairs: PairScorer | None = None
    quantised: bool = False
    use: ModelUse = field(default_factory=ModelUse)
    idle: IdleEncoder | None = None

    @property
    def embedder(self) -> Embedder:
        """The embedder of texts.

        Raises:
            InvalidRequest: The model compares pairs and embeds nothing.
        """
        if self.texts is None:
            refuse("model", f"{self.entry.name} is an NLI model, which does not embed texts")
        return self.texts

    @property
    def scorer(self) -> PairScorer:
        """The scorer of pairs.

        Raises:
            InvalidRequest: The model embeds and compares no pairs.
        """
        if self.pairs is None:
            refuse("model", f"{self.entry.name} is no NLI model: it does not compare pairs")
        return self.pairs

    @property
    def tokenizer(self) -> SharedTokenizer:
        """What counts the tokens of texts."""
        return self.scorer if self.texts is None else self.texts

    @property
    def revision(self) -> str:
        """Changes whenever the weights or their configuration do."""
        return self.scorer.encoder.revision if self.texts is None else self.texts.encoder.revision

    @cached_property
    def scoring_revision(self) -> str:
        """What scores depend on beside the request: weights, catalogue entry, and this release."""
        parts = [self.revision, self.entry.model_dump_json(), _RELEASE]
        if self.quantised:
            parts.append("int8")
        return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()

    @property
    def batchers(self) -> tuple[Microbatcher, ...]:
        """Of all its towers."""
        towers = (self.texts, self.images, self.pairs)
        return tuple(tower.batcher for tower in towers if tower is not None)

    def full_accounts(self, priority: Priority, *, passes: int) -> set[str]:
        """Accounts with so many forward passes of a tower waiting in the class and above it.

        So are those whose long texts are being tokenised: how many they will be is not known yet.
        """
        full = self.tokenizer.tokenising(priority)
        return full.union(*(b.full_accounts(priority, passes=passes) for b in self.batchers))
