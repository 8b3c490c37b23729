"""Calibration of zero-shot scores on sets that had no part in the constants, and on odd texts.

    python -m ops.bench.quality_calibration --data ../shared/data

Prints markdown for `docs/explanation/scoring.md`, for both bundled models: the calibration error
without and with a temperature that falls with the length of a text. The temperature and its
exponent are fitted on all sets but the one of a row, with all versions of their texts. Beside the
four public sets there are two that this machine has: the documentation of scipy and scikit-learn
functions by topic, and that of AWS operations by service. Seeds are 0; at most 1,000 texts a set.
"""

from __future__ import annotations

import argparse
import html
import importlib
import inspect
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench.languages import bundled_pair
from ops.bench.machine import describe
from ops.bench.quality_zero_shot import SETS
from shared.types import Priority
from workers.core.calibration import expected_calibration_error
from workers.core.prompts import average, prompts
from workers.core.zero_shot import cosines, length_factor, single_label, spread
from workers.embedding.loaded_model import LoadedModel
from workers.work_context import WorkContext

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

MOST, DEGRADED, JOINED, WHOLE = 1000, 600, 300, 400  # texts of a version
FITTED = 300  # texts of a version that constants are fitted on
VERSIONS = ("plain", "cut", "stripped", "shuffled", "joined", "whole")
# A set counts as its texts themselves first.
WEIGHT = {"plain": 3.0}
TEMPERATURES = np.geomspace(0.03, 0.12, 21)
EXPONENTS = np.linspace(0.0, 0.6, 13)
LONGEST = 20_000  # characters of a whole documentation text
MANY = 60  # documentation texts of a label
FEWEST = 10
_SMALL = """
a about after and are as at be been before but by can could did do does for from had has have he her
here him his how i if in into is it its just me my no not of on or our over she should so than that
the their them then there these they this those to too us very was we were what when which who will
with would you your
"""
SMALL_WORDS = frozenset(_SMALL.split())
FUNCTIONS = {
    "scipy.stats": "statistics",
    "scipy.signal": "signal processing",
    "scipy.linalg": "linear algebra",
    "scipy.optimize": "optimization",
    "scipy.interpolate": "interpolation",
    "scipy.integrate": "integration and differential equations",
    "scipy.ndimage": "image processing",
    "scipy.special": "special functions",
    "scipy.spatial.distance": "distances between vectors",
    "sklearn.cluster": "clustering",
    "sklearn.linear_model": "linear models",
    "sklearn.ensemble": "ensembles of trees",
    "sklearn.metrics": "evaluation metrics",
    "sklearn.preprocessing": "preprocessing of data",
    "sklearn.feature_selection": "feature selection",
    "sklearn.datasets": "data sets",
    "sklearn.neighbors": "nearest neighbors",
    "sklearn.covariance": "covariance estimation",
    "sklearn.model_selection": "cross-validation",
}
SERVICES = {
    "s3": "object storage",
    "ec2": "virtual machines and networks",
    "dynamodb": "tables of a NoSQL database",
    "sqs": "message queues",
    "iam": "users, roles and permissions",
    "rds": "relational databases",
    "lambda": "serverless functions",
    "cloudwatch": "metrics and alarms",
    "route53": "domain names and DNS",
    "ecs": "containers",
    "sagemaker": "machine learning",
    "ses": "sending email",
    "kinesis": "data streams",
    "glue": "data catalogs and ETL jobs",
    "redshift": "data warehouse",
    "iot": "devices of the internet of things",
    "kms": "encryption keys",
    "medialive": "live video",
    "connect": "contact center",
    "backup": "backups",
    "gamelift": "game servers",
    "elasticache": "in-memory cache",
}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Labelled texts of a set; `whole` are long ones, with their labels."""

    labels: tuple[str, ...]
    rows: list[tuple[str, str]]
    whole: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class TextVersion:
    """A version of a set, scored: cosines by label spread (N, L), tokens (N,), true labels (N,)."""

    name: str
    version: str
    z: Floats
    tokens: Ints
    y: Ints

    def first(self, count: int) -> TextVersion:
        """Its first texts: they have no order."""
        return TextVersion(
            name=self.name,
            version=self.version,
            z=self.z[:count],
            tokens=self.tokens[:count],
            y=self.y[:count],
        )

    def scores(self, temperature: float, exponent: float) -> Floats:
        """(N, L) probabilities."""
        return single_label(
            self.z / length_factor(self.tokens, exponent)[:, None],
            temperature,
        )

    def error(self, temperature: float, exponent: float) -> float:
        """The expected calibration error."""
        return expected_calibration_error(self.scores(temperature, exponent), self.y)


def main() -> None:
    """Read the arguments, print a table a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    data: Path = parser.parse_args().data
    sets = {name: public(data / name) for name in SETS}
    sets |= {"scientific functions": functions(), "AWS operations": operations()}
    print(describe())
    pair = bundled_pair()
    for model in (pair.english, pair.multilingual):
        versions = [v for name, texts in sets.items() for v in scored(name, texts, model)]
        table(versions, model)


def public(folder: Path) -> Texts:
    """The first texts of the test split."""
    labels = tuple(dict.fromkeys(json.loads((folder / "labels.json").read_text()).values()))
    lines = (folder / "test.jsonl").read_text("utf-8").strip().split("\n")[:MOST]
    rows = [(row["text"], row["label"]) for row in map(json.loads, lines)]
    return Texts(labels=labels, rows=rows, whole=[])


def functions() -> Texts:
    """Docstrings by the topic of their module: the first paragraph, and all of it."""
    found: dict[str, str] = {}
    for module, topic in FUNCTIONS.items():
        for _, member in sorted(inspect.getmembers(importlib.import_module(module))):
            text = inspect.getdoc(member) if callable(member) else None
            if text is not None and len(text) > 40:
                found.setdefault(text, topic)
    return _documentation(list(found.items()), _first_paragraph)


def operations() -> Texts:
    """What AWS operations do, by the subject of their service: the first sentence, and all."""
    loader = importlib.import_module("botocore.loaders").Loader()
    found: dict[str, str] = {}
    for service, subject in SERVICES.items():
        for operation in loader.load_service_model(service, "service-2")["operations"].values():
            text = html.unescape(re.sub(r"<[^>]+>", " ", operation.get("documentation", "")))
            text = " ".join(text.split())
            if len(text) > 30:
                found.setdefault(text, subject)
    return _documentation(list(found.items()), lambda text: text.split(". ")[0])


def _first_paragraph(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text)
    signature = len(paragraphs) > 1 and re.match(r"\S+\(", paragraphs[0]) is not None
    return " ".join(paragraphs[signature].split())


def _documentation(found: list[tuple[str, str]], beginning: Callable[[str], str]) -> Texts:
    """As many texts of each label, in random order."""
    random.Random(0).shuffle(found)
    by_label = defaultdict(list)
    for text, label in found:
        by_label[label].append(text)
    labels = tuple(label for label, texts in sorted(by_label.items()) if len(texts) >= FEWEST)
    rows = [(text, label) for label in labels for text in by_label[label][:MANY]]
    random.Random(0).shuffle(rows)
    return Texts(
        labels=labels,
        rows=[(beginning(text), label) for text, label in rows[:MOST]],
        whole=[(text[:LONGEST], label) for text, label in rows[:WHOLE]],
    )


def versions_of(texts: Texts) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The texts themselves, damaged ones, joined ones and whole ones."""
    rng = random.Random(0)
    yield "plain", texts.rows
    some = rng.sample(texts.rows, min(DEGRADED, len(texts.rows)))
    yield "cut", [(" ".join(text.split()[:5]), label) for text, label in some]
    yield "stripped", [(_stripped(text), label) for text, label in some]
    yield "shuffled", [(_shuffled(text, rng), label) for text, label in some]
    by_label = defaultdict(list)
    for text, label in texts.rows:
        by_label[label].append(text)
    drawn = [label for _, label in rng.choices(texts.rows, k=JOINED)]
    yield "joined", [(" ".join(rng.choices(by_label[k], k=rng.randint(5, 20))), k) for k in drawn]
    if texts.whole:
        yield "whole", texts.whole


def _stripped(text: str) -> str:
    words = [word for word in re.findall(r"\w+", text) if word.lower() not in SMALL_WORDS]
    return " ".join(words) or text


def _shuffled(text: str, rng: random.Random) -> str:
    words = text.lower().split()
    rng.shuffle(words)
    return " ".join(words)


def scored(name: str, texts: Texts, model: LoadedModel) -> Iterator[TextVersion]:
    """All versions of a set, embedded as a worker does: long texts in windows."""
    context = WorkContext(priority=Priority.STANDARD)
    templates = model.entry.templates

    def embed(some: Sequence[str]) -> tuple[Floats, Ints]:
        ids = model.embedder.tokenise(some)
        return model.embedder.embed(ids, context).result(600), np.array([*map(len, ids)], np.intp)

    forms = [form for of_label in prompts(texts.labels, templates) for form in of_label]
    labels = average(embed(forms)[0], len(templates))
    for version, rows in versions_of(texts):
        x, tokens = embed([text for text, _ in rows])
        y = np.array([texts.labels.index(label) for _, label in rows], np.intp)
        z = cosines(x, labels) / np.float32(spread(labels))
        yield TextVersion(name=name, version=version, z=z, tokens=tokens, y=y)


def fitted(versions: Sequence[TextVersion]) -> tuple[float, float]:
    """The temperature by spread, and the exponent, of the least loss of the best label's score."""
    weights: dict[str, float] = defaultdict(float)
    for v in versions:
        weights[v.name] += WEIGHT.get(v.version, 1.0)
    some = [(v.first(FITTED), WEIGHT.get(v.version, 1.0) / weights[v.name]) for v in versions]

    def loss(temperature: float, exponent: float) -> float:
        total = 0.0
        for v, weight in some:
            p = v.scores(temperature, exponent)
            best = np.clip(p.max(axis=1), 1e-4, 1 - 1e-4)
            right = p.argmax(axis=1) == v.y
            total -= weight * float(np.log(np.where(right, best, 1 - best)).mean())
        return total

    grid = [(float(t), float(e)) for t in TEMPERATURES for e in EXPONENTS]
    return min(grid, key=lambda point: loss(*point))


def chance(v: TextVersion, temperature: float, exponent: float) -> float:
    """The calibration error that chance alone gives perfectly calibrated scores of these values."""
    rng = np.random.default_rng(0)
    p = v.scores(temperature, exponent)
    best = p.argmax(axis=1)
    drawn = partial(rng.random, len(p))
    return float(np.mean([
        expected_calibration_error(p, np.where(drawn() < p.max(axis=1), best, -1))
        for _ in range(10)
    ]))  # fmt: skip


def table(versions: Sequence[TextVersion], model: LoadedModel) -> None:
    """Without length, with constants fitted on the other sets, with those of the catalogue."""
    entry = model.entry
    print(
        f"\n{entry.name}: calibration error without → with the length of a text, constants of each"
    )
    print("row fitted on the other sets; in brackets with those of the catalogue\n")
    print(f"| set | temperature, exponent | {' | '.join(VERSIONS)} |")
    print(f"|---|---|{'---|' * len(VERSIONS)}")
    columns: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for name in dict.fromkeys(v.name for v in versions):
        point = fitted([v for v in versions if v.name != name])
        cells = dict.fromkeys(VERSIONS, "")
        for v in versions:
            if v.name == name:
                now = (entry.temperature, entry.length_exponent)
                row = (v.error(entry.temperature, 0.0), v.error(*point), v.error(*now))
                columns[v.version].append((*row, chance(v, *now)))
                cells[v.version] = "{:.3f} → {:.3f} ({:.3f})".format(*row)
        fit = f"{point[0]:.3f}, {point[1]:.2f}"
        print(f"| {name} | {fit} | {' | '.join(cells.values())} |")
    means = {k: np.mean(columns[k], axis=0) for k in VERSIONS}
    mean = " | ".join("{:.3f} → {:.3f} ({:.3f})".format(*means[k]) for k in VERSIONS)
    print(f"| mean | | {mean} |")
    print(f"| chance alone | | {' | '.join(f'{means[k][3]:.3f}' for k in VERSIONS)} |")


if __name__ == "__main__":
    main()
