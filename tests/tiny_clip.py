"""A small open_clip model, trained on images that are drawn here: shapes in colours.

`trained` gives a folder as open_clip's own push to a hub writes it, made once per recipe and kept
between runs; `untrained` and `sentence` are of random weights, for tests that look at shapes.
The model knows colours, shapes, sizes and places, and reads open_clip's own tokens.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from shared.adapters.directory import file_lock

SIZE = 64
COLOURS = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 255),
    "yellow": (235, 215, 40),
    "purple": (190, 70, 225),
}
_RADII = {"small": 0.19, "large": 0.29}
_PLACES = {"left": (0.33, 0.5), "right": (0.67, 0.5), "top": (0.5, 0.33), "bottom": (0.5, 0.67)}
SHAPES = ("circle", "square", "triangle", "cross")
LABELS = tuple(f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES)
"""What a drawing can be of; drawing number i of `draw_all` is of label i modulo their number."""

TRAINING_BOUND_S = 280.0
_DRAWINGS, _STEPS, _BATCH, _RATE = 4000, 160, 64, 3e-3
_RECIPE = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=6).hexdigest()

# A small ResNet: in a minute it learns shapes, of which a transformer of that size learns none.
MODEL: dict[str, Any] = {
    "embed_dim": 96,
    "vision_cfg": {
        "image_size": SIZE,
        "timm_model_name": "test_resnet",
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
}
TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An image and what is true of it."""

    image: Image.Image
    colour: str
    shape: str
    size: str
    place: str

    @property
    def label(self) -> str:
        return f"a {self.colour} {self.shape}"


def draw(colour: str, shape: str, pick: random.Random, *, side: int = SIZE) -> Drawing:
    """One shape of a colour near the one named, anywhere, on dark ground with noise."""
    size, place = pick.choice(tuple(_RADII)), pick.choice(tuple(_PLACES))
    radius = side * (_RADII[size] + pick.uniform(-0.02, 0.02))
    x, y = (side * (middle + pick.uniform(-0.05, 0.05)) for middle in _PLACES[place])
    ground = pick.randint(0, 50)
    tint = tuple(max(0, min(255, ground + pick.randint(-20, 20))) for _ in range(3))
    paint = tuple(max(0, min(255, part + pick.randint(-22, 22))) for part in COLOURS[colour])

    image = Image.new("RGB", (side, side), tint)
    _SHAPES[shape](ImageDraw.Draw(image), x, y, radius, paint)
    noise = np.random.default_rng(pick.getrandbits(32)).integers(-6, 7, (side, side, 3))
    pixels = np.clip(np.asarray(image, np.int16) + noise, 0, 255).astype(np.uint8)
    return Drawing(
        image=Image.fromarray(pixels), colour=colour, shape=shape, size=size, place=place
    )


def draw_all(count: int, seed: int) -> list[Drawing]:
    """`count` drawings, the labels in turn; another seed gives other drawings."""
    pick = random.Random(seed)
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    return [draw(*kinds[i % len(kinds)], pick) for i in range(count)]


def caption(drawing: Drawing, pick: random.Random) -> tuple[str, tuple[str | None, ...]]:
    """A sentence about a drawing, and the traits it names; None stands for any."""
    traits = (drawing.colour, drawing.shape, drawing.size, drawing.place)
    kept = [
        traits[0] if pick.random() < 0.6 else None,
        traits[1] if pick.random() < 0.9 else None,
        traits[2] if pick.random() < 0.3 else None,
        traits[3] if pick.random() < 0.3 else None,
    ]
    words = [word for word in (kept[2], kept[0], kept[1] or "shape") if word]
    phrase = ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)
    if kept[3]:
        phrase += f" at the {kept[3]}"
    template = pick.choice(("{}", "{}", "a drawing of {}", "a picture of {}", "this is {}."))
    return template.format(phrase), tuple(kept)


def trained(folder: Path) -> Path:
    """The folder of the trained model, below `folder`; trains if no other run has."""
    return _made(folder, "trained", _train_alone)


def untrained(folder: Path) -> Path:
    """The folder of a model of random weights: 32 pixels, 16 dimensions, 14 tokens."""
    return _made(folder, "untrained", lambda target: save(build(TINY), TINY, target))


def sentence(folder: Path) -> Path:
    """The folder of an untrained model as sentence-transformers' `clip-ViT-B-32` is laid out."""
    return _made(folder, "sentence", _sentence)


def build(config: dict[str, Any]) -> Any:
    """A model of open_clip with random weights, the same ones every time."""
    import open_clip
    import torch
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg

    torch.manual_seed(7)
    kind = open_clip.CustomTextCLIP if "init_logit_bias" in config else open_clip.CLIP
    model = kind(**config)
    preprocess = PreprocessCfg(size=config["vision_cfg"]["image_size"])
    set_model_preprocess_cfg(model, asdict(preprocess))
    return model


def save(model: Any, config: dict[str, Any], folder: Path) -> None:
    """As open_clip's `push_to_hf_hub` lays a folder out."""
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    save_config_for_hf(model, folder / "open_clip_config.json", config)


def _made(folder: Path, kind: str, make: Callable[[Path], None]) -> Path:
    """A folder named by this file's content; one process makes it, others wait."""
    target = folder / f"{kind}-{_RECIPE}"
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(str(folder / f"{kind}.lock"), timeout_s=TRAINING_BOUND_S):
        if not target.is_dir():
            for old in folder.glob(f"{kind}-*"):
                shutil.rmtree(old)
            unfinished = folder / f"unfinished-{kind}"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(target)
    return target


def _train_alone(folder: Path) -> None:
    """On one core: beside other tests two wait for each other, and one gives the same bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train(folder)
    finally:
        torch.set_num_threads(threads)


def _train(folder: Path) -> None:
    import torch
    from open_clip import SimpleTokenizer, image_transform

    model = build(MODEL).train()
    model.token_embedding.requires_grad_(False)  # random ones tell words apart well enough
    tokenise = SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    transform = image_transform(SIZE, is_train=False)
    drawings = draw_all(_DRAWINGS, seed=1)
    images = torch.stack([transform(drawing.image) for drawing in drawings])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.05, betas=(0.9, 0.98))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, _STEPS, pct_start=0.15)
    pick = random.Random(11)
    for _ in range(_STEPS):
        places = pick.sample(range(_DRAWINGS), _BATCH)
        batch = [drawings[place] for place in places]
        captions, traits = zip(*(caption(drawing, pick) for drawing in batch), strict=True)
        loss = _loss(model, images[places], tokenise(list(captions)), _true(batch, traits))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        rates.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    save(model.eval(), MODEL, folder)


def _sentence(folder: Path) -> None:
    import torch
    from open_clip import SimpleTokenizer
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizerFast,
    )

    inner = folder / "0_CLIPModel"
    inner.mkdir(parents=True)
    words = SimpleTokenizer()
    named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary, merges = inner / "vocab.json", inner / "merges.txt"
    vocabulary.write_text(json.dumps({named.get(w, w): id_ for w, id_ in words.encoder.items()}))
    merges.write_text("#version: 0.2\n" + "\n".join(map(" ".join, words.bpe_ranks)) + "\n")
    tokenizer = CLIPTokenizerFast(vocab=str(vocabulary), merges=str(merges), model_max_length=16)
    side = {"num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 16}
    text = {"hidden_size": 16, "max_position_embeddings": 16, "eos_token_id": 49407} | side
    vision = {"hidden_size": 32, "image_size": 32, "patch_size": 16} | side
    torch.manual_seed(7)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model.save_pretrained(inner)
    CLIPProcessor(images, tokenizer).save_pretrained(inner)
    module = {"idx": 0, "name": "0", "path": inner.name, "type": _MODULE}
    (folder / "modules.json").write_text(json.dumps([module]))


_MODULE = "sentence_transformers.models.CLIPModel"


def _true(drawings: Sequence[Drawing], traits: Sequence[tuple[str | None, ...]]) -> Any:
    """(N, N): which caption is true of which drawing, its own or not."""
    import torch

    facts = [(d.colour, d.shape, d.size, d.place) for d in drawings]
    return torch.tensor([
        [all(t is None or t == f for t, f in zip(said, fact, strict=True)) for said in traits]
        for fact in facts
    ])  # fmt: skip


def _loss(model: Any, images: Any, tokens: Any, true: Any) -> Any:
    """CLIP's loss where a batch holds several true captions of a drawing."""
    images = model.encode_image(images, normalize=True)  # (N, D)
    texts = model.encode_text(tokens, normalize=True)  # (N, D)
    logits = model.logit_scale.exp() * images @ texts.T  # (N, N)
    wanted = true.float()
    by_image = -(wanted / wanted.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_text = -(wanted / wanted.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (by_image + by_text) / 2


def _circle(pen: Any, x: float, y: float, r: float, paint: Any) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=paint)


def _square(pen: Any, x: float, y: float, r: float, paint: Any) -> None:
    r *= 0.9
    pen.rectangle((x - r, y - r, x + r, y + r), fill=paint)


def _triangle(pen: Any, x: float, y: float, r: float, paint: Any) -> None:
    pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=paint)


def _cross(pen: Any, x: float, y: float, r: float, paint: Any) -> None:
    arm = r * 0.34
    pen.rectangle((x - r, y - arm, x + r, y + arm), fill=paint)
    pen.rectangle((x - arm, y - r, x + arm, y + r), fill=paint)


_SHAPES = {"circle": _circle, "square": _square, "triangle": _triangle, "cross": _cross}
