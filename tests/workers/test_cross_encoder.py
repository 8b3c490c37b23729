"""A trained NLI model behind the port: it agrees with `CrossEncoder`, and entailment is entailment.

The model is tiny and trained here (`tests.tiny_nli`); it is loaded as those of the catalogue are.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationError, Unavailable
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from shared.types import ClassifyRequest, ClassifyResult, Engine, Item, Priority, Question
from tests.fake_media import FakeMedia
from tests.fakes import FakeStore
from workers.classifier_cache import ClassifierCache
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.classify import ClassifyHandler
from workers.model_loader import load_models
from workers.models.port import PairEncoder, TextPair
from workers.work_context import WorkContext

pytestmark = pytest.mark.slow

BOUND_S = 60.0
CONTEXT = WorkContext(priority=Priority.STANDARD)
LABELS = ("sports", "billing", "delivery")
TEXTS = ("my parcel was late", "a refund again", "one goal today", "the courier was late today")
RIGHT = [2, 1, 0, 2]


@pytest.fixture(scope="module")
def folder(nli_checkpoint: Path) -> Path:
    """Of a trained model whose classes are contradiction, entailment, neutral."""
    return nli_checkpoint


def renamed(folder: Path, to: Path, *names: str) -> Path:
    """The same model, with classes of other names in the same places."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    config["id2label"] = {str(place): name for place, name in enumerate(names)}
    config["label2id"] = {name: place for place, name in enumerate(names)}
    (to / "config.json").write_text(json.dumps(config))
    return to


def load(folder: Path, **options: Any) -> PairEncoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from workers.models import cross_encoder

        return cross_encoder.load(str(folder), name="tiny-nli", **options)


@pytest.fixture(scope="module")
def models(folder: Path) -> Iterator[dict[str, LoadedModel]]:
    """Loaded as a worker loads them: the trained model, and one that embeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, models = load_models(
            Catalogue(
                [
                    ModelEntry(name="hashing", engine="hashing"),
                    ModelEntry(name="tiny-nli", engine="cross_encoder", checkpoint=str(folder)),
                ],
                default="hashing",
            ),
            Settings(device="cpu", microbatch_tokens=128),
            observe=lambda _: lambda *_: None,
        )
    yield models
    for model in models.values():
        for batcher in model.batchers:
            batcher.close()


@pytest.fixture(scope="module")
def handler(models: dict[str, LoadedModel]) -> ClassifyHandler:
    limits = Limits()
    cache = ClassifierCache(FakeStore(), versions_kept=1)
    return ClassifyHandler(models, limits, cache, ItemEmbedder(limits=limits, media=FakeMedia()))


def classify(
    handler: ClassifyHandler, *texts: str, engine: Engine = "nli", **options: Any
) -> ClassifyResult:
    request = ClassifyRequest(
        model="tiny-nli" if engine == "nli" else "hashing",
        nli_model=None if engine == "nli" else "tiny-nli",
        engine=engine,
        items=tuple(Item(text=text) for text in texts),
        questions=(Question(labels=LABELS),),
        **options,
    )
    return handler.begin(request, CONTEXT).result(timeout_s=BOUND_S)


def best(result: ClassifyResult) -> list[int | None]:
    return [answers[0].best for answers in result.answers]


def pairs_of(encoder: PairEncoder, texts: list[tuple[str, str]]) -> list[TextPair]:
    tokens = [encoder.tokenise(pair) for pair in texts]
    return [TextPair(*(np.array(ids, np.int32).tobytes() for ids in each)) for each in tokens]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_logits_are_those_of_the_library_in_any_batch(
    folder: Path, tiny_nli: Any, engine: str
) -> None:
    encoder = load(folder, engine=engine, precision="float32")
    texts = [row[:2] for row in tiny_nli.examples(random.Random(9), 60)] + [("", "it deals with")]
    from sentence_transformers import CrossEncoder

    library = CrossEncoder(str(folder), device="cpu")
    wanted = library.predict(texts, show_progress_bar=False)[:, [1, 0]]
    pairs = pairs_of(encoder, texts)

    assert np.abs(encoder.encode(pairs) - wanted).max() < 1e-3
    assert np.abs(encoder.encode(pairs[:1]) - wanted[:1]).max() < 1e-3
    encoder.close()
    with pytest.raises(Unavailable, match="is closed"):
        encoder.encode(pairs)


def test_entailment_is_found_by_its_name_wherever_it_stands(folder: Path, tmp_path: Path) -> None:
    probe = [("my parcel was late", "This example is about delivery.")]
    encoder = load(folder)
    entailed, contrary = encoder.encode(pairs_of(encoder, probe))[0]
    assert entailed > contrary + 1

    other = load(renamed(folder, tmp_path / "swapped", "Entailment", "contradiction", "neutral"))
    assert other.encode(pairs_of(other, probe))[0] == pytest.approx([contrary, entailed], abs=1e-3)
    assert other.revision != encoder.revision


def test_a_checkpoint_without_entailment_is_refused(folder: Path, tmp_path: Path) -> None:
    stars = renamed(folder, tmp_path / "stars", "LABEL_0", "LABEL_1", "LABEL_2")
    with pytest.raises(ConfigurationError, match=r"LABEL_0, LABEL_1, LABEL_2, but must have entai"):
        load(stars)


def test_the_right_label_wins(handler: ClassifyHandler) -> None:
    assert best(classify(handler, *TEXTS)) == RIGHT
    assert best(classify(handler, *TEXTS, engine="hybrid")) == RIGHT


def test_a_template_is_the_hypothesis(handler: ClassifyHandler) -> None:
    assert best(classify(handler, *TEXTS, template="It deals with {label}.")) == RIGHT
    scores = [
        classify(handler, TEXTS[0], template=each).answers[0][0].scores
        for each in ("This example is about {label}.", "It deals with {label}.", None)
    ]
    assert scores[0] == pytest.approx(scores[2], abs=1e-4)
    assert scores[1] != scores[2]


def test_with_many_labels_each_stands_for_itself(handler: ClassifyHandler) -> None:
    answers = classify(handler, *TEXTS, multi_label=True).answers
    for (answer,), right in zip(answers, RIGHT, strict=True):
        entailed = [place for place, score in enumerate(answer.scores) if (score or 0) > 0.5]
        assert entailed == [right]

    for multi_label in (False, True):
        (answer,) = classify(handler, TEXTS[0], multi_label=multi_label).answers[0]
        total = sum(score or 0 for score in answer.scores)
        assert (total == pytest.approx(1.0, abs=1e-4)) is not multi_label


def test_of_a_long_text_the_window_that_entails_most_counts(
    handler: ClassifyHandler, tiny_nli: Any
) -> None:
    filler = " ".join([*tiny_nli.FILLERS, *tiny_nli.FILLERS[:8]])
    long = [f"{filler} {filler} parcel", f"{filler} goal {filler}", f"refund {filler} {filler}"]
    result = classify(handler, *long)

    assert best(result) == [2, 0, 1]
    assert result.windowed == (0, 1, 2)


def test_batch_mates_change_no_score(handler: ClassifyHandler, tiny_nli: Any) -> None:
    mates = [row[0] for row in tiny_nli.examples(random.Random(5), 40)]
    alone = classify(handler, TEXTS[0]).answers[0][0].scores
    among = classify(handler, *mates, TEXTS[0]).answers[-1][0].scores

    assert among == pytest.approx(alone, abs=1e-3)


def test_two_classes_are_entailment_and_the_rest(tiny_nli: Any) -> None:
    from workers.models.cross_encoder import nli_classes

    assert nli_classes({0: "not_entailment", 1: "entailment"}, name="m") == (1, 0)
    with pytest.raises(ConfigurationError, match="entailment, neutral"):
        nli_classes({0: "entailment", 1: "neutral"}, name="m")


def test_the_check_of_the_command_line_measures_pairs(folder: Path) -> None:
    from workers.model_check import check

    entry = ModelEntry(name="tiny-nli", engine="cross_encoder", checkpoint=str(folder))
    lines = check(entry, Settings(device="cpu"))

    assert any(line.startswith("pairs: windows of 29 tokens") for line in lines)
    assert any("pairs/s" in line for line in lines)
