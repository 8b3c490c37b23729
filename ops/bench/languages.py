"""How good `auto` is in each language: zero-shot on tickets, and which texts go to which model.

    python -m ops.bench.languages [--data ../shared/data]

Prints markdown for `docs/explanation/languages.md`. The tickets are those of `tickets.toml`; with
`--data`, the English sets there say how many English texts stay with the English model, and what
the choice costs. Nothing is drawn at random, so there is no seed.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench.machine import describe
from ops.bench.quality_zero_shot import SETS
from shared import model_catalogue
from shared.limits import Limits
from shared.settings import Settings
from shared.types import ClassifyRequest, Item, Priority, Question
from workers.embedding.labels import LabelSets
from workers.embedding.languages import LanguagePair
from workers.embedding.loaded_model import LoadedModel
from workers.model_loader import load_models
from workers.work_context import WorkContext

_CONTEXT = WorkContext(priority=Priority.STANDARD)
_BOUND_S = 120.0
_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Tickets:
    """The tickets of a language, with the index of the label of each."""

    language: str
    texts: tuple[str, ...]
    y: NDArray[np.intp]


def tickets() -> tuple[dict[str, str], list[Tickets]]:
    """The labels with their descriptions, and the tickets of each language."""
    tables = tomllib.loads(resources.files("ops.bench").joinpath("tickets.toml").read_text("utf-8"))
    labels: dict[str, str] = tables.pop("labels")
    return labels, [
        Tickets(
            language=language,
            texts=tuple(chain.from_iterable(by_label[label] for label in labels)),
            y=np.repeat(np.arange(len(labels)), [len(by_label[label]) for label in labels]),
        )
        for language, by_label in tables.items()
    ]


def bundled_pair() -> LanguagePair:
    """The two bundled models, loaded as a worker on a CPU loads them."""
    catalogue = model_catalogue.load(default=model_catalogue.AUTO)
    assert catalogue.auto is not None
    settings = Settings(device="cpu", models=",".join(catalogue.auto.models))
    _, models = load_models(catalogue, settings, observe=lambda _: lambda *_: None)
    english, multilingual = (models[name] for name in catalogue.auto.models)
    return LanguagePair(english=english, multilingual=multilingual)


def predictions(
    model: LoadedModel, texts: Sequence[str], labels: Sequence[str], described: dict[str, str]
) -> NDArray[np.intp]:
    """The index of the best label of each text."""
    request = ClassifyRequest(
        model=model.entry.name,
        items=tuple(Item(text=text) for text in texts),
        questions=(Question(labels=tuple(labels)),),
        descriptions=described,
    )
    sets = LabelSets(Limits())
    known = sets.of(model, request, request.questions[0], _CONTEXT).result(_BOUND_S)
    x = model.embedder.embed(model.embedder.tokenise(texts), _CONTEXT).result(_BOUND_S)
    best: NDArray[np.intp] = known.scored.scores(x).argmax(axis=1)
    return best


def by_language(
    pair: LanguagePair, texts: Sequence[str], labels: Sequence[str], described: dict[str, str]
) -> NDArray[np.intp]:
    """As `predictions`, each text by the model of its language."""
    found = predictions(pair.english, texts, labels, described)
    others = [*pair.of_items([Item(text=text) for text in texts]).others]
    found[others] = predictions(pair.multilingual, texts, labels, described)[others]
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    data = parser.parse_args().data
    labels, languages = tickets()
    pair = bundled_pair()
    print(describe())
    print("\n| language | English model | described | auto | described | to the multilingual model"
          " | warned |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for each in languages:
        found = [
            *(predictions(pair.english, each.texts, [*labels], how) for how in ({}, labels)),
            *(by_language(pair, each.texts, [*labels], how) for how in ({}, labels)),
        ]
        right = [f"{100 * (y == each.y).mean():.0f}" for y in found]
        choice = pair.of_items([Item(text=text) for text in each.texts])
        print(f"| {each.language} | {' | '.join(right)} | {len(choice.others)} of "
              f"{len(each.texts)} | {len(choice.unsupported)} |")  # fmt: skip
    if data is not None:
        english_sets(pair, data)


def english_sets(pair: LanguagePair, data: Path) -> None:
    """How many English texts stay with the English model, and the processor time of the choice."""
    print(
        "\n| English set | to the English model | warned | processor time of the choice, a text |"
    )
    print("|---|---|---|---|")
    for name in SETS:
        lines = (data / name / "test.jsonl").read_text("utf-8").strip().split("\n")
        texts = [str(json.loads(line)["text"]) for line in lines]
        items = [Item(text=text) for text in texts]
        began = time.process_time()
        choices = [pair.of_items(items[i : i + _AT_ONCE]) for i in range(0, len(items), _AT_ONCE)]
        spent = (time.process_time() - began) / len(texts)
        others = sum(len(choice.others) for choice in choices) / len(texts)
        warned = sum(len(choice.unsupported) for choice in choices) / len(texts)
        row = f"{100 * (1 - others):.1f} % | {100 * warned:.1f} % | {1e6 * spent:.0f} µs"
        print(f"| {name} | {row} |")


if __name__ == "__main__":
    main()
