"""What is classified in measurements: real texts of four public sets, or random words."""

from __future__ import annotations

import json
import random
from pathlib import Path

_SETS = ("ag_news", "banking77", "emotion", "sms_spam")
WORDS = [
    "order",
    "refund",
    "late",
    "card",
    "account",
    "money",
    "bank",
    "transfer",
    "weather",
    "game",
    "team",
    "market",
    "price",
    "report",
    "phone",
    "battery",
    "update",
    "screen",
    "doctor",
    "hotel",
    "flight",
    "music",
    "film",
    "city",
    "river",
    "science",
    "law",
]


def mixed_texts(data: Path, count: int | None = None) -> list[str]:
    """Texts of mixed length, shuffled, always in the same order.

    Args:
        data: The directory of the sets; without it, texts are made of random words.
        count: How many; all there are if None. Where there are fewer, they come again with a
            number, so that no two are alike.
    """
    texts = [
        json.loads(line)["text"]
        for name in _SETS
        if (data / name / "train.jsonl").exists()
        for line in (data / name / "train.jsonl").read_text("utf-8").splitlines()
    ]
    shuffle = random.Random(0)
    if not texts:
        print("# no data directory: texts are made of random words", flush=True)
        lengths = [max(3, int(shuffle.lognormvariate(3.0, 0.7))) for _ in range(4096)]
        texts = [" ".join(shuffle.choices(WORDS, k=length)) for length in lengths]
    shuffle.shuffle(texts)
    if count is None:
        return texts
    again = [f"{texts[n % len(texts)]} ({n})" for n in range(len(texts), count)]
    return texts[:count] + again
