"""Text encoders from sentence-transformers checkpoints, on the fastest engine that agrees.

Decides which engine and precision run a model: OpenVINO or torch on a CPU, torch on CUDA, each in
half precision where the device has it. A candidate is taken only if it gives the vectors of
`SentenceTransformer.encode` in float32 for probe texts, cosine 0.999 or more. Prompts are the
catalogue's: none is put before a text here.

Importing this module imports torch, which takes seconds.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers.utils import logging as transformers_logging

from shared.errors import ConfigurationError, Unavailable
from workers.cpu_quota import usable_cores
from workers.models import model_files
from workers.models.gpu_memory import freeing
from workers.models.inference_engines import (
    Engine,
    Forward,
    Pipeline,
    Precision,
    candidates,
    fastest,
)
from workers.models.port import Rows
from workers.models.tokenizer import WindowTokenizer

AGREEMENT = 0.999
INT8_AGREEMENT = 0.95
"""Of int8, which was measured on more texts when it was made: `workers.models.int8_model`."""
PROBES = (
    "",
    "refund",
    "I was charged twice for the same order, who can help me?",
    "The central bank left its rate unchanged on Thursday; economists had expected a cut. " * 3,
    "The quick brown fox jumps over the lazy dog while 27 others watch from afar. " * 24,
)
_REVISION_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}
_DEFAULT_LENGTH = 512


def load(
    path_or_name: str,
    *,
    name: str,
    device: str = "cpu",
    precision: Literal["auto"] | Precision = "auto",
    engine: Literal["auto"] | Engine = "auto",
    revision: str | None = None,
    allow_download: bool = False,
    threads: int | None = None,
    int8: Path | None = None,
) -> SentenceEncoder:
    """Load a checkpoint, choose its engine, check it, and run it once: warm when it returns.

    Args:
        path_or_name: a folder, or a name on the Hugging Face hub.
        name: the model's name in the catalogue.
        device: "cpu", "cuda" or "cuda:N".
        precision: "auto" is half precision where the device has it and it agrees.
        engine: "auto" tries OpenVINO, then torch; always torch on CUDA.
        revision: branch, tag or commit on the hub.
        allow_download: whether a name that is not in the local cache may be fetched.
        threads: of the CPU engine; None is every core that the process may use.
        int8: the checkpoint in int8, which is taken if it agrees.

    Raises:
        ConfigurationError: when the checkpoint cannot be loaded or no engine agrees.
    """
    with quiet():
        model = _model(path_or_name, device, revision, allow_download)
        tokeniser = WindowTokenizer(model.tokenizer)
        window = int(model.max_seq_length or _DEFAULT_LENGTH) - tokeniser.specials
        reference = model.encode(
            list(PROBES), prompt="", normalize_embeddings=True, show_progress_bar=False
        )
        encoder = SentenceEncoder(
            name=name,
            revision=revision_of(path_or_name, revision),
            dimensions=reference.shape[1],
            window=window,
            tokeniser=tokeniser,
        )
        pipeline = Pipeline(model, encoder.dimensions).eval()

        def agrees(forward: Forward, precision: Precision) -> tuple[bool, str]:
            encoder.forward = forward
            needed = INT8_AGREEMENT if precision == "int8" else AGREEMENT
            return _agreement(encoder, reference, needed)

        encoder.forward, encoder.precision = fastest(
            name,
            pipeline,
            candidates(device, precision, engine),
            device=device,
            threads=threads or usable_cores(),
            agrees=agrees,
            int8=int8,
        )
    del model, pipeline  # OpenVINO has its own copy of the weights
    gc.collect()
    return encoder


class SentenceEncoder:
    """One engine behind the port.

    Measured for MiniLM with OpenVINO in bfloat16: a row differs by up to 0.0007 in a coordinate
    (cosine 0.99999) when its batch mates or its padding differ.
    """

    def __init__(
        self, *, name: str, revision: str, dimensions: int, window: int, tokeniser: WindowTokenizer
    ) -> None:
        self.name = name
        self.revision = revision
        self.dimensions = dimensions
        self.window = window
        self.tokenise = tokeniser
        self.forward: Forward = self._closed
        self.precision: Precision = "float32"

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """(N, D) unit rows of windows of content ids, in the order given."""
        longest = max(map(len, windows))
        if longest > self.window:
            raise ValueError(f"A window has {longest} tokens; at most {self.window} fit.")
        padded = self.tokenise.pad(windows)
        return freeing(
            lambda: self.forward(*padded), what=f"{len(windows)} texts of the model {self.name}"
        )

    def close(self) -> None:
        """Free the weights."""
        self.forward = self._closed
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _closed(self, *_: object) -> Rows:
        raise Unavailable(f"The model {self.name} is closed.")


def _agreement(encoder: SentenceEncoder, reference: Rows, needed: float) -> tuple[bool, str]:
    """Whether the vectors of the probes, together and some alone, are those of the reference."""
    windows = [ids[: encoder.window] for ids in encoder.tokenise(PROBES)]
    rows = [encoder.encode(windows)] + [encoder.encode([window]) for window in windows[:3]]
    cosines = (np.concatenate(rows) * np.concatenate([reference, reference[:3]])).sum(axis=1)
    lowest = float(np.nan_to_num(cosines, nan=-1.0).min())
    return lowest >= needed, f"cosine {lowest:.5f} with float32, at least {needed} needed"


def local_model(path_or_name: str) -> Any:
    """The checkpoint in float32 on the CPU; nothing is downloaded.

    Raises:
        ConfigurationError: It is not here, or cannot be loaded.
    """
    return _model(path_or_name, "cpu", None, allow_download=False)


def _model(path_or_name: str, device: str, revision: str | None, allow_download: bool) -> Any:
    """The checkpoint in float32, whatever precision it was stored in."""
    try:
        model = SentenceTransformer(
            path_or_name, device=device, revision=revision, local_files_only=not allow_download
        )
    except (OSError, ValueError, ImportError, RuntimeError) as exc:
        raise ConfigurationError(f"The model {path_or_name} cannot be loaded: {exc}") from exc
    if not isinstance(model[0], Transformer):
        kind = type(model[0]).__name__
        raise ConfigurationError(f"The model {path_or_name} starts with {kind}, not Transformer.")
    return model.float().eval()


def revision_of(path_or_name: str, revision: str | None) -> str:
    """A hash of the folder's configuration and weights, or the hub's commit."""
    folder = Path(path_or_name)
    if not folder.is_dir():
        commit = model_files.commit_of(path_or_name, revision=revision)
        if commit is None:
            raise ConfigurationError(f"The model {path_or_name} has no commit on the hub.")
        return commit
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _REVISION_FILES):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no remarks of the libraries while a model loads."""
    loud = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(loud)
