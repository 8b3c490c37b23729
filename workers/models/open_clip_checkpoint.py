"""CLIP checkpoints that open_clip reads.

A checkpoint is a folder as open_clip's push to the hub lays it out, `hf-hub:owner/name`,
`architecture@pretrained-tag`, or `architecture@file of weights`. Decides what these names mean and
what is refused: no pickle is ever run, and no architecture is guessed. open_clip builds the model.

Importing this module imports torch, which takes seconds.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from shared.errors import ConfigurationError
from workers.inputs.images.frame import Frame
from workers.models import hub
from workers.models.clip_checkpoint import (
    TEXTS,
    Checkpoint,
    fingerprint,
    probe_images,
    quiet,
    reason,
)
from workers.models.clip_tokenizer import ClipTokenizer, byte_pairs, cleaned, specials
from workers.models.port import Rows
from workers.models.tokenizer import WindowTokenizer

with quiet():  # open_clip warns when it is imported
    import open_clip
    from open_clip.hf_model import HFTextEncoder
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from open_clip.transformer import TextTransformer

HUB = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth"}
_TOKENISER_FILES = {".json", ".txt", ".model"}
_IMAGE_SQUARE = 16  # pixels of a side; where a tower has no patches


@dataclass(frozen=True, kw_only=True)
class _OpenClipSource:
    """What open_clip is asked for; `pretrained` is a tag or a file."""

    architecture: str
    pretrained: str | None
    revision: str


def read(checkpoint: str, *, model: str, device: str, allow_download: bool) -> Checkpoint:
    """Load a checkpoint in float32.

    Args:
        checkpoint: as the module says.
        model: its name in the catalogue, for sentences.
        device: "cpu", "cuda" or "cuda:N".
        allow_download: whether what is not in the local cache may be fetched.

    Raises:
        ConfigurationError: It is not there, broken, or of a kind that is not known.
    """
    with quiet(), hub.reach(allow_download=allow_download):
        source = _source(checkpoint, model)
        try:
            loaded = open_clip.create_model(
                source.architecture,
                source.pretrained,
                device=device,
                require_pretrained=True,
                force_custom_text=True,  # towers as modules of their own
                weights_only=True,
            ).eval()
            tokenizer = open_clip.get_tokenizer(source.architecture)
        except Exception as exc:
            raise ConfigurationError(
                f"the model {model} cannot be loaded from {checkpoint}: {reason(exc)}"
            ) from exc
        return _checkpoint(loaded, tokenizer, source.revision, model, device)


def _checkpoint(loaded: Any, tokenizer: Any, revision: str, model: str, device: str) -> Checkpoint:
    wanted = loaded.visual.preprocess_cfg
    height, width = _pair(wanted["size"])
    frame = Frame(
        height=height,
        width=width,
        resize=wanted["resize_mode"],
        interpolation="bilinear" if wanted["interpolation"] == "bilinear" else "bicubic",
        fill=int(wanted["fill_color"]),
    )
    transform = image_transform_v2(PreprocessCfg(**wanted), is_train=False)
    images = torch.stack([transform(Image.fromarray(pixels)) for pixels in probe_images(frame)])
    with torch.inference_mode():
        text_rows = loaded.encode_text(tokenizer(list(TEXTS)).to(device), normalize=True)
        image_rows = loaded.encode_image(images.to(device), normalize=True)
    return Checkpoint(
        texts=_OpenClipTexts(loaded.text),
        images=_OpenClipImages(loaded.visual),
        tokeniser=_tokeniser(tokenizer, _may_be_shorter(loaded.text), model),
        frame=frame,
        mean=_triple(wanted["mean"]),
        std=_triple(wanted["std"]),
        image_tokens=_image_tokens(loaded.visual, frame),
        scale=float(loaded.logit_scale.exp()),
        bias=0.0 if loaded.logit_bias is None else float(loaded.logit_bias),
        revision=revision,
        text_rows=_rows(text_rows),
        image_rows=_rows(image_rows),
    )


class _OpenClipTexts(nn.Module):
    """The text tower: ids and mask (N, T) to (N, D)."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.causal: torch.Tensor | None
        # (length, length), of towers that look back
        self.register_buffer("causal", getattr(tower, "attn_mask", None))

    def forward(self, ids: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
        if _may_be_shorter(self.tower) and self.causal is not None:
            length = ids.shape[1]
            self.tower.attn_mask = self.causal[:length, :length]
        return _first(self.tower(ids))


class _OpenClipImages(nn.Module):
    """The image tower: (N, 3, H, W) to (N, D)."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _first(self.tower(images))


def _source(checkpoint: str, model: str) -> _OpenClipSource:
    folder = Path(checkpoint)
    if folder.is_dir():
        return _folder(folder, model)
    if checkpoint.startswith(HUB):
        repository = checkpoint.removeprefix(HUB)
        hub.file(repository, [CONFIG], revision=None, model=model)
        weights = hub.file(repository, WEIGHTS, revision=None, model=model)
        return _OpenClipSource(
            architecture=checkpoint, pretrained=None, revision=hub.commit(weights)
        )
    architecture, at, pretrained = checkpoint.partition("@")
    if not at or not pretrained:
        raise ConfigurationError(
            f"checkpoint: {checkpoint} of {model} is not a folder on this machine; give a folder, "
            "hf-hub:<owner>/<name>, <architecture>@<pretrained tag> or <architecture>@<file>"
        )
    return _built_in(architecture, pretrained, model)


def _folder(folder: Path, model: str) -> _OpenClipSource:
    weights = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not weights:
        raise ConfigurationError(
            f"the model {model}: {folder} holds no {' nor '.join(WEIGHTS)}; "
            "save the weights under one of these names"
        )
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        config["model_cfg"]["text_cfg"], config["model_cfg"]["vision_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(
            f"the model {model}: {folder} holds no {CONFIG} with model_cfg, its text_cfg and its "
            f"vision_cfg ({reason(exc)})"
        ) from exc
    beside = [path for path in folder.iterdir() if path.suffix in _TOKENISER_FILES]
    return _OpenClipSource(
        architecture=f"local-dir:{folder}",
        pretrained=None,
        revision=fingerprint([*beside, weights[0]]),
    )


def _built_in(architecture: str, pretrained: str, model: str) -> _OpenClipSource:
    """A configuration that open_clip carries, with weights of a tag or of a file."""
    config = open_clip.get_model_config(architecture)
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3)
        raise ConfigurationError(
            f"checkpoint: open_clip has no architecture {architecture} (model {model})"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    path = Path(pretrained)
    if path.is_file():
        if path.suffix not in _WEIGHT_FILES:
            kinds = ", ".join(sorted(_WEIGHT_FILES))
            raise ConfigurationError(f"the model {model}: {path} is not one of {kinds}")
        return _OpenClipSource(
            architecture=architecture, pretrained=pretrained, revision=fingerprint([path])
        )
    tag = get_pretrained_cfg(architecture, pretrained)
    if not tag:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise ConfigurationError(
            f"checkpoint: {pretrained} of {model} is neither a file nor a pretrained tag of "
            f"{architecture}; its tags: {tags}"
        )
    if tag.get("quick_gelu", False) and not config.get("quick_gelu", False):
        raise ConfigurationError(
            f"checkpoint: the weights {pretrained} were trained with QuickGELU, which "
            f"{architecture} does not use; give {architecture}-quickgelu@{pretrained}"
        )
    repository, _, name = tag["hf_hub"].rpartition("/")
    names = (f"{Path(name).stem}.safetensors", name) if name else WEIGHTS
    weights = hub.file(repository, names, revision=None, model=model)
    identity = f"{architecture}@{pretrained}@{hub.commit(weights)}"
    revision = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return _OpenClipSource(architecture=architecture, pretrained=pretrained, revision=revision)


def _tokeniser(tokenizer: Any, shorter: bool, model: str) -> ClipTokenizer:
    """open_clip's own tokenizer, without its truncation."""
    if type(tokenizer) is SimpleTokenizer and tokenizer.reduction_fn is None:
        return ClipTokenizer(
            byte_pairs(tokenizer),
            before=[tokenizer.sot_token_id],
            behind=[tokenizer.eot_token_id],
            pad_id=0,
            length=tokenizer.context_length,
            shorter=shorter,
        )
    if type(tokenizer) is HFTokenizer and not tokenizer.tokenizer_mode:
        own = WindowTokenizer(tokenizer.tokenizer)
        before, behind = specials(own)
        if tokenizer.strip_sep_token:
            sep = tokenizer.tokenizer.sep_token_id
            behind = [0 if token == sep else token for token in behind]
        return ClipTokenizer(
            cleaned(own, tokenizer.clean_fn),
            before=before,
            behind=behind,
            pad_id=int(tokenizer.tokenizer.pad_token_id),
            length=tokenizer.context_length,
            shorter=shorter,
        )
    kind = type(tokenizer).__name__
    raise ConfigurationError(f"the model {model} has an unsupported tokenizer: {kind}")


def _may_be_shorter(tower: Any) -> bool:
    """Whether padding behind a text changes nothing, so that it may be left out.

    So it is where each token looks back only and the vector is that of the end token, and where
    padding is masked.
    """
    if isinstance(tower, HFTextEncoder):
        return True
    return (
        isinstance(tower, TextTransformer)
        and tower.attn_mask is not None
        and tower.cls_emb is None
        and tower.pool_type in ("argmax", "eos")
    )


def _image_tokens(tower: Any, frame: Frame) -> int:
    grid = getattr(tower, "grid_size", None)
    if grid is not None:
        return int(grid[0] * grid[1])
    patches = getattr(getattr(getattr(tower, "trunk", None), "patch_embed", None), "num_patches", 0)
    return int(patches) or -(-frame.height * frame.width // _IMAGE_SQUARE**2)


def _first(features: Any) -> torch.Tensor:
    """Towers that also give their tokens give them second."""
    first: torch.Tensor = features[0] if isinstance(features, tuple) else features
    return first


def _rows(features: torch.Tensor) -> Rows:
    return np.asarray(features.float().cpu().numpy(), np.float32)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _triple(values: Any) -> tuple[float, ...]:
    listed = values if isinstance(values, (list, tuple)) else (values,) * 3
    return tuple(map(float, listed))
