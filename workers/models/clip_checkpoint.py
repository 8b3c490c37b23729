"""A loaded CLIP checkpoint, independent of the library: two towers and their parameters.

Decides on which texts and images an engine must agree with the library. Where checkpoints come
from is decided by the readers, in which precision they run by `workers.models.clip`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from transformers.utils import logging as transformers_logging

from workers.inputs.images.frame import Frame, Pixels
from workers.models.clip_tokenizer import ClipTokenizer
from workers.models.port import Rows

TEXTS = (
    "",
    "cat",
    "a photo of two dogs that play in the snow.",
    "A woman reads a newspaper on a bench, while 27 pigeons wait for crumbs; it rains! " * 12,
)
_TOKENISER_CORES = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model in float32 on its device, both towers in evaluation mode.

    `texts` takes ids and attention mask, (N, T) each; `images` takes (N, 3, H, W), normalised by
    `mean` and `std` of red, green and blue at a scale of 0 to 1. Both give (N, D), of any length.
    `scale` multiplies cosines into logits, `bias` is added to them. `text_rows` and `image_rows`
    are what the library itself gives for `TEXTS` and `probe_images`: unit rows.
    """

    texts: nn.Module
    images: nn.Module
    tokeniser: ClipTokenizer
    frame: Frame
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_tokens: int
    scale: float
    bias: float
    revision: str
    text_rows: Rows
    image_rows: Rows


def probe_images(frame: Frame) -> list[Pixels]:
    """Images of a frame's size: black, white, slopes of colour, noise."""
    shape = (frame.height, frame.width, 3)
    y, x = np.mgrid[0 : frame.height, 0 : frame.width]
    slopes = np.stack([x * 255 // frame.width, y * 255 // frame.height, (x + y) % 256], axis=-1)
    noise = np.random.default_rng(0).integers(0, 256, shape)
    flat = [np.full(shape, level) for level in (0, 255)]
    return [image.astype(np.uint8) for image in (*flat, slopes, noise)]


def fingerprint(files: Iterable[Path]) -> str:
    """A hash of names and contents: 16 letters."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(files):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No remarks of the libraries while they are imported and load a model.

    open_clip makes its own to the root logger, and when it is imported it makes every tokenizer of
    the process use one core. All of that ends with the block; meanwhile it holds for all threads.
    """
    root, loud = logging.getLogger(), transformers_logging.get_verbosity()
    before, cores = root.level, os.environ.get(_TOKENISER_CORES)
    root.setLevel(logging.CRITICAL)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
        transformers_logging.set_verbosity(loud)
        os.environ.pop(_TOKENISER_CORES, None)
        if cores is not None:
            os.environ[_TOKENISER_CORES] = cores


def reason(error: Exception) -> str:
    """The start of what a library said: it may list every tensor of a model."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}{'…' if len(message) > 300 else ''}"
