"""Model check: loads a model as a worker does, runs texts and images, and measures the speed.

Importing this module imports numpy; loading a model imports its engine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from shared.types import Priority
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pairs import PairScorer
from workers.model_loader import load_models
from workers.models.port import Rows
from workers.work_context import WorkContext

_TRY_S = 2.0  # duration of the speed measurement
_PASS_LIMIT_S = 300.0
_TEXT = "The parcel never arrived, and nobody answers my letters."
_AT_ONCE = 32  # items per measurement


def check(entry: ModelEntry, settings: Settings) -> list[str]:
    """Load a model as a worker does and run items through it; returns the report lines.

    Raises:
        ConfigurationError: The model cannot be loaded; the detail gives the reason.
        PigeonholeError: The model failed on the items.
    """
    began = time.monotonic()
    remarks = _Remarks()
    logger = logging.getLogger("pigeonhole.models")
    logger.setLevel(logging.INFO)
    logger.addHandler(remarks)
    speed = _Speed()
    alone = replace(settings, models=entry.name, allow_downloads=False)
    only = Catalogue([entry], default=entry.name)
    device, held = load_models(only, alone, observe=lambda _: speed)
    logger.removeHandler(remarks)
    model = held[entry.name]
    lines = [f"works on {device}, loaded in {time.monotonic() - began:.1f} s"]
    lines += remarks.lines
    try:
        lines += _measured(model, speed)
    finally:
        for batcher in model.batchers:
            batcher.close()
    return lines


def _measured(model: LoadedModel, speed: _Speed) -> list[str]:
    """Report lines for texts, and for images if the model supports them; or for pairs."""
    if model.pairs is not None:
        return _measured_pairs(model.pairs, speed)
    encoder, embedder = model.embedder.encoder, model.embedder
    tokens = embedder.tokenise([_TEXT])[0]
    # All texts differ, since equal windows are deduplicated.
    texts = [[*tokens[i % len(tokens) :], *tokens] for i in range(_AT_ONCE)]
    texts = [text[: encoder.window - i % 8] for i, text in enumerate(texts)]
    speed.of(lambda: embedder.embed(texts, WorkContext(priority=Priority.BULK)))
    lines = [
        f"texts: {encoder.dimensions} dimensions, windows of {encoder.window} tokens, "
        f"revision {encoder.revision}",
        f"texts: {speed.tokens / speed.seconds:,.0f} tokens/s, "
        f"{embedder.batcher.budget_tokens} tokens in a forward pass",
    ]
    if model.images is not None:
        frame = model.images.encoder.frame
        noise = np.random.default_rng(0)
        images = [
            noise.integers(0, 256, (frame.height, frame.width, 3), np.uint8)
            for _ in range(_AT_ONCE)
        ]
        image_embedder = model.images
        at_once = max(
            1, image_embedder.batcher.budget_tokens // image_embedder.encoder.image_tokens
        )
        speed.of(lambda: image_embedder.embed(images, WorkContext(priority=Priority.BULK)))
        lines += [
            f"images: {frame.width} x {frame.height} pixels, "
            f"logit scale {image_embedder.logit_scale:.1f}",
            f"images: {speed.windows / speed.seconds:,.1f} images/s, {at_once} in a forward pass",
        ]
    return lines


def _measured_pairs(scorer: PairScorer, speed: _Speed) -> list[str]:
    """Report lines for an NLI model."""
    tokens, hypothesis = scorer.tokenise([_TEXT, "This example is about a delivery."])
    premises = [[*tokens[i % len(tokens) :], *tokens] for i in range(_AT_ONCE)]  # all differ
    context = WorkContext(priority=Priority.BULK)
    speed.of(lambda: scorer.compare(premises, [hypothesis], context))
    return [
        f"pairs: windows of {scorer.encoder.window} tokens, revision {scorer.encoder.revision}",
        f"pairs: {speed.windows / speed.seconds:,.1f} pairs/s, "
        f"{speed.tokens / speed.seconds:,.0f} tokens/s, "
        f"{scorer.batcher.budget_tokens} tokens in a forward pass",
    ]


@dataclass
class _Speed:
    """A microbatcher hook that adds up forward passes."""

    windows: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __call__(self, windows: int, tokens: int, padded_tokens: int, took_s: float) -> None:  # noqa: ARG002
        self.windows += windows
        self.tokens += tokens
        self.seconds += took_s

    def of(self, begin: Callable[[], Future[Rows]]) -> None:
        """Reset, then repeat `begin` for `_TRY_S` seconds."""
        begin().result(_PASS_LIMIT_S)  # the first pass of a shape is slower
        self.windows, self.tokens, self.seconds = 0, 0, 0.0
        until = time.monotonic() + _TRY_S
        while not self.seconds or time.monotonic() < until:
            begin().result(_PASS_LIMIT_S)


class _Remarks(logging.Handler):
    """Collects the log lines of engines about device and precision."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if " run" in message:
            self.lines.append(message)
