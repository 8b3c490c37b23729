"""The embeddings of one run: each content is sent through a model once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.classifier_record import Classifier, Version
from shared.classifier_store import ClassifierStore
from shared.errors import InvalidRequest, PigeonholeError, TokenLimitExceeded
from shared.types import Example, Usage
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.handlers import example_store, training_set
from workers.handlers.kept_embeddings import KeptEmbeddings, embedding_key, item_digest
from workers.handlers.retrain.snapshot import NewRow
from workers.handlers.training_set import TrainingSet
from workers.leases import Lease
from workers.models.port import Rows


@dataclass(kw_only=True)
class RunEmbedder:
    """Embeds the examples of an account; `usage` counts the tokens so far, each text once."""

    models: Mapping[str, LoadedModel]
    viewer: ItemEmbedder
    account: str
    num_iters: int
    hold: Lease
    records: ClassifierStore
    kept: KeptEmbeddings
    usage: Usage = Usage()
    _rows: dict[tuple[str, bytes], Rows] = field(default_factory=dict)  # (D,) each

    def embed(self, model: str, examples: Sequence[Example]) -> TrainingSet:
        """The examples as vectors, in order.

        Raises:
            InvalidRequest: An image or document cannot be read.
            TokenLimitExceeded: A text is too long.
            Unavailable: This worker does not hold the model, or the model has stopped.
            CancelledError: The lease ended.
        """
        digests = [item_digest(example.item) for example in examples]
        fresh = {
            digest: example
            for digest, example in zip(digests, examples, strict=True)
            if (model, digest) not in self._rows
        }
        loaded = training_set.model_of(self.models, model)
        if fresh:
            seen = training_set.see(
                self.viewer,
                loaded,
                list(fresh.values()),
                num_iters=1,
                account=self.account,
                hold=self.hold,
            )
            self.usage += seen.usage
            self._rows |= {(model, digest): row for digest, row in zip(fresh, seen.x, strict=True)}
        images = sum(bool(example.item.images) for example in examples)
        return TrainingSet(
            model=loaded,
            account=self.account,
            x=np.stack([self._rows[model, digest] for digest in digests]),
            of_images=2 * images > len(examples),
            labels=tuple(example.label for example in examples),
            num_iters=training_set.iterations(examples, self.num_iters),
            weights=np.array([example.weight for example in examples], np.float64),
            usage=Usage(),
        )

    def embed_kept(
        self, model: str, record: Classifier, version: Version, examples: Sequence[Example]
    ) -> None:
        """Make the embeddings of the kept examples of a version known to `embed`: those that are
        kept, too, are read, and the others are made and kept.

        Raises:
            PigeonholeError: As for `embed`.
        """
        key = embedding_key(model, training_set.model_of(self.models, model).revision)
        found = self.kept.load(version, key)
        self._rows |= {(model, digest): row for digest, row in found.items()}
        missing = [example for example in examples if item_digest(example.item) not in found]
        if missing:
            self.kept.add(version.number, key, missing, self.embed(model, missing).x)
            example_store.forget_unless_kept(self.records, record, version.number)

    def unreadable(self, model: str, rows: Iterable[NewRow]) -> dict[str, str]:
        """Which rows cannot be embedded, by digest, and why; the others are embedded then."""
        rows = list(rows)
        if not rows:
            return {}
        try:
            self.embed(model, [row.example for row in rows])
        except (InvalidRequest, TokenLimitExceeded) as exc:
            if len(rows) == 1:
                return {rows[0].digest: _reason(exc)}
            half = len(rows) // 2
            return self.unreadable(model, rows[:half]) | self.unreadable(model, rows[half:])
        return {}


def _reason(error: PigeonholeError) -> str:
    return error.fields[0].message if error.fields else error.detail
