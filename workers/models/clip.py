"""CLIP models behind the ports: one space, a tower for texts and a tower for images.

Decides in which precision each tower runs and that the two take turns. A half precision is taken
only if the tower gives the vectors of its own library in float32 for probe texts or images,
cosine 0.999 or more. Where a checkpoint comes from is decided by the module that reads it.

Importing this module imports torch, which takes seconds.
"""

from __future__ import annotations

import copy
import gc
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn

from shared.errors import ConfigurationError, Unavailable
from workers.cpu_quota import usable_cores
from workers.inputs.images.frame import Frame, Pixels
from workers.models.clip_checkpoint import TEXTS, Checkpoint, probe_images, reason
from workers.models.clip_tokenizer import ClipTokenizer
from workers.models.gpu_memory import freeing
from workers.models.inference_engines import Precision, half_precision
from workers.models.port import ImageEncoder, Rows, TextEncoder

logger = logging.getLogger("pigeonhole.models")

AGREEMENT = 0.999


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """A loaded, warm model.

    One thread at a time may call the `encode` of each tower; two threads may call both at once.
    A cosine times `logit_scale` plus `logit_bias` is the model's own logit; models trained with a
    softmax have no bias, 0.
    """

    texts: TextEncoder
    images: ImageEncoder
    logit_scale: float
    logit_bias: float

    def close(self) -> None:
        """Free the memory of both towers."""
        self.texts.close()
        self.images.close()


def load(
    checkpoint: str,
    *,
    name: str,
    engine: Literal["open_clip", "sentence"] = "open_clip",
    device: str = "cpu",
    precision: Literal["auto"] | Precision = "auto",
    allow_download: bool = False,
    threads: int | None = None,
) -> ClipModel:
    """Load a checkpoint, choose a precision for each tower, and run both once.

    Args:
        checkpoint: for open_clip a folder with `open_clip_config.json`, `hf-hub:owner/name`,
            `architecture@pretrained-tag` or `architecture@file`; for sentence-transformers a
            folder or a name on the hub.
        name: the model's name in the catalogue.
        engine: the library that reads it.
        device: "cpu", "cuda" or "cuda:N".
        precision: "auto" is half precision where the device has it and the tower agrees.
        allow_download: whether what is not in the local cache may be fetched.
        threads: on a CPU; None is every core that the process may use.

    Raises:
        ConfigurationError: The checkpoint is not there, is broken, or its towers do not give what
            its library gives.
    """
    if engine == "sentence":
        from workers.models.sentence_clip_checkpoint import read as reader
    else:
        from workers.models.open_clip_checkpoint import read as reader
    if device == "cpu":
        torch.set_num_threads(threads or usable_cores())
    read = reader(checkpoint, model=name, device=device, allow_download=allow_download)
    turn = threading.Lock()
    texts, text_precision = _agreeing(
        lambda p: _TextTower(name, read, _Tower(name, read.texts, p, device, turn)),
        _probe_texts, read.text_rows, _precisions(device, precision), f"the texts of {name}",
    )  # fmt: skip
    images, image_precision = _agreeing(
        lambda p: _ImageTower(name, read, _Tower(name, read.images, p, device, turn)),
        _probe_images, read.image_rows, _precisions(device, precision), f"images of {name}",
    )  # fmt: skip
    logger.info(
        "%s runs by %s on %s; texts in %s, images in %s",
        name, engine, device, text_precision, image_precision,
    )  # fmt: skip
    return ClipModel(texts=texts, images=images, logit_scale=read.scale, logit_bias=read.bias)


class _Tower:
    """A tower in one precision: tensors to unit rows.

    The towers of a model take turns: on a GPU each would take memory that the other's batch was
    measured to have. It costs nothing: on a CPU one pass keeps all cores busy (16 images and 128
    texts took 3.1 s either way), on a GPU passes queue up anyway.
    """

    def __init__(
        self, name: str, module: nn.Module, precision: Precision, device: str, turn: threading.Lock
    ) -> None:
        self.name = name
        self.device = device
        self.dtype: torch.dtype = getattr(torch, precision)
        self._turn = turn
        half = precision != "float32"
        self._module: nn.Module | None = copy.deepcopy(module).to(self.dtype) if half else module

    def run(self, inputs: Callable[[], tuple[torch.Tensor, ...]], *, what: str) -> Rows:
        """(N, D) float32 of what `inputs` gives; the caller's own.

        Raises:
            Unavailable: The tower is closed, or memory ran out; then the memory is free again.
        """
        return freeing(lambda: self._pass(inputs), what=f"{what} of the model {self.name}")

    def close(self) -> None:
        """Free the weights."""
        self._module = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _pass(self, inputs: Callable[[], tuple[torch.Tensor, ...]]) -> Rows:
        module = self._module
        if module is None:
            raise Unavailable(f"The model {self.name} is closed.")
        with self._turn, torch.inference_mode():
            vectors = module(*inputs()).float()  # (N, D)
            rows = nn.functional.normalize(vectors, dim=1).cpu().numpy()
        return np.asarray(rows, np.float32)


class _TextTower:
    """The text tower behind the port.

    With other batch mates a row differs as far as the precision rounds: in bfloat16 by up to 0.0013
    in a coordinate of the model that the tests train, in float32 by 1e-7.
    """

    def __init__(self, name: str, read: Checkpoint, tower: _Tower) -> None:
        self.name = name
        self.revision = read.revision
        self.dimensions = read.text_rows.shape[1]
        self.window = read.tokeniser.window
        self.tokenise: ClipTokenizer = read.tokeniser
        self._tower = tower

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        ids, mask = self.tokenise.pad(windows)  # (N, T) each
        device = self._tower.device
        return self._tower.run(
            lambda: (torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)),
            what=f"{len(windows)} texts",
        )

    def close(self) -> None:
        self._tower.close()


class _ImageTower:
    """The image tower behind the port; its rows depend on batch mates as those of texts do."""

    def __init__(self, name: str, read: Checkpoint, tower: _Tower) -> None:
        self.name = name
        self.revision = read.revision
        self.dimensions = read.image_rows.shape[1]
        self.frame: Frame = read.frame
        self.image_tokens = read.image_tokens
        self._tower = tower
        # In float32 on the device, for (N, 3, H, W).
        self._mean, self._std = (
            torch.tensor(values, device=tower.device).view(1, 3, 1, 1)
            for values in (read.mean, read.std)
        )

    def encode(self, images: Sequence[Pixels]) -> Rows:
        wanted = (self.frame.height, self.frame.width, 3)
        for image in images:
            if image.shape != wanted or image.dtype != np.uint8:
                raise ValueError(
                    f"An image is {image.dtype} {image.shape}; the frame is uint8 {wanted}."
                )
        stacked = torch.from_numpy(np.stack(images))  # (N, H, W, 3)
        return self._tower.run(lambda: (self._normalised(stacked),), what=f"{len(images)} images")

    def close(self) -> None:
        self._tower.close()

    def _normalised(self, stacked: torch.Tensor) -> torch.Tensor:
        levels = stacked.to(self._tower.device).permute(0, 3, 1, 2).contiguous().float().div_(255)
        return levels.sub_(self._mean).div_(self._std).to(self._tower.dtype)  # (N, 3, H, W)


_Encoder = TypeVar("_Encoder", _TextTower, _ImageTower)


def _precisions(device: str, wanted: Literal["auto"] | Precision) -> list[Precision]:
    """Candidates, the fastest first."""
    if wanted != "auto":
        return [wanted]
    half = half_precision(device)
    return ["float32"] if half is None else [half, "float32"]


def _agreeing(
    build: Callable[[Precision], _Encoder],
    probe: Callable[[_Encoder], Rows],
    wanted: Rows,
    precisions: Sequence[Precision],
    what: str,
) -> tuple[_Encoder, Precision]:
    """The first encoder whose rows are those of the library, (P, D), and its precision."""
    for precision in precisions:
        try:
            encoder = build(precision)
            agreement = float(np.nan_to_num((probe(encoder) * wanted).sum(axis=1), nan=-1).min())
        except Exception as exc:  # noqa: BLE001 - a tower may not run in half; the next stands in
            found = reason(exc)
        else:
            if agreement >= AGREEMENT:
                return encoder, precision
            found = f"cosine {agreement:.4f} with the reference library, below {AGREEMENT}"
        logger.warning("%s do not run in %s (%s)", what, precision, found)
    raise ConfigurationError(f"{what} differ from those of the reference library: {found}")


def _probe_texts(encoder: _TextTower) -> Rows:
    return encoder.encode([ids[: encoder.window] for ids in encoder.tokenise(TEXTS)])


def _probe_images(encoder: _ImageTower) -> Rows:
    return encoder.encode(probe_images(encoder.frame))
