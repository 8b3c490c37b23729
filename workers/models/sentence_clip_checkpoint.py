"""CLIP checkpoints of sentence-transformers: `clip-ViT-B-32` and others that embed both.

Decides which of its models have two towers and what their processors want of an image.

Importing this module imports torch, which takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import CLIPModel

from shared.errors import ConfigurationError
from workers.inputs.images.frame import Frame
from workers.models import hub, model_files
from workers.models.clip_checkpoint import (
    TEXTS,
    Checkpoint,
    fingerprint,
    probe_images,
    quiet,
    reason,
)
from workers.models.clip_tokenizer import ClipTokenizer, specials
from workers.models.port import Rows
from workers.models.tokenizer import WindowTokenizer

_REVISION_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}
_INTERPOLATIONS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # PIL's


def read(checkpoint: str, *, model: str, device: str, allow_download: bool) -> Checkpoint:
    """Load a folder or a model of the hub, in float32.

    Args:
        checkpoint: a folder, or a name on the hub.
        model: its name in the catalogue, for sentences.
        device: "cpu", "cuda" or "cuda:N".
        allow_download: whether what is not in the local cache may be fetched.

    Raises:
        ConfigurationError: It is not there, broken, or has no image tower.
    """
    with quiet(), hub.reach(allow_download=allow_download):
        try:
            loaded = SentenceTransformer(
                checkpoint, device=device, local_files_only=not allow_download
            )
        except Exception as exc:
            if not allow_download and not Path(checkpoint).exists():
                raise hub.not_here(model) from exc
            raise ConfigurationError(
                f"the model {model} cannot be loaded from {checkpoint}: {reason(exc)}"
            ) from exc
        if not isinstance(getattr(loaded[0], "model", None), CLIPModel):
            raise ConfigurationError(
                f"the model {model} ({checkpoint}) is not a CLIP model: it has no image tower; "
                "use a model that has one, or use this one for texts only"
            )
        return _checkpoint(loaded.float().eval(), checkpoint, model)


def _checkpoint(loaded: Any, checkpoint: str, model: str) -> Checkpoint:
    towers, processor = loaded[0].model, loaded[0].processor
    frame = _frame(processor.image_processor, model)
    own = WindowTokenizer(processor.tokenizer)
    before, behind = specials(own)
    images = [Image.fromarray(pixels) for pixels in probe_images(frame)]
    patch = towers.config.vision_config.patch_size
    return Checkpoint(
        texts=_SentenceClipTexts(towers.text_model, towers.text_projection),
        images=_SentenceClipImages(towers.vision_model, towers.visual_projection),
        tokeniser=ClipTokenizer(
            own,
            before=before,
            behind=behind,
            pad_id=int(processor.tokenizer.pad_token_id),
            length=towers.config.text_config.max_position_embeddings,
            shorter=True,  # its texts look back only
        ),
        frame=frame,
        mean=tuple(map(float, processor.image_processor.image_mean)),
        std=tuple(map(float, processor.image_processor.image_std)),
        image_tokens=(frame.height // patch) * (frame.width // patch),
        scale=float(towers.logit_scale.exp()),
        bias=0.0,
        revision=_revision(checkpoint, model),
        text_rows=_encode(loaded, list(TEXTS)),
        image_rows=_encode(loaded, images),
    )


class _SentenceClipTexts(nn.Module):
    """The text tower: ids and mask (N, T) to (N, D)."""

    def __init__(self, tower: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.tower, self.projection = tower, projection

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pooled = self.tower(input_ids=ids, attention_mask=mask).pooler_output
        return self.projection(pooled)  # type: ignore[no-any-return]


class _SentenceClipImages(nn.Module):
    """The image tower: (N, 3, H, W) to (N, D)."""

    def __init__(self, tower: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.tower, self.projection = tower, projection

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.tower(pixel_values=images).pooler_output
        return self.projection(pooled)  # type: ignore[no-any-return]


def _frame(wants: Any, model: str) -> Frame:
    """What the model's own processor makes of an image."""
    size, crop = dict(wants.size), dict(wants.crop_size or {}) if wants.do_center_crop else {}
    interpolation = _INTERPOLATIONS.get(int(wants.resample))
    if (
        interpolation
        and size.get("shortest_edge")
        and set(crop.values()) == {size["shortest_edge"]}
    ):
        return Frame(
            height=crop["height"],
            width=crop["width"],
            resize="shortest",
            interpolation=interpolation,
        )
    if interpolation and size.get("height") and crop in ({}, size):
        return Frame(
            height=size["height"],
            width=size["width"],
            resize="squash",
            interpolation=interpolation,
        )
    raise ConfigurationError(
        f"the model {model} needs an unsupported way of resizing images: "
        f"size {size}, crop {crop}, resample {wants.resample}"
    )


def _encode(loaded: Any, items: list[Any]) -> Rows:
    rows = loaded.encode(items, prompt="", normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(rows, np.float32)


def _revision(checkpoint: str, model: str) -> str:
    folder = Path(checkpoint)
    if folder.is_dir():
        return fingerprint(p for p in folder.rglob("*") if p.suffix in _REVISION_FILES)
    commit = model_files.commit_of(checkpoint)
    if commit is None:
        raise ConfigurationError(f"the model {model} ({checkpoint}) has no commit on the hub.")
    return commit
