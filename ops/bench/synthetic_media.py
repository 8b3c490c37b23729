"""What is looked at in measurements: images with noise, PDFs of random words, CLIP models.

The models have random weights, so what they say means nothing; what they cost is real.
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ops.bench.texts import WORDS

WIDTH, HEIGHT = 500, 330  # of an ordinary photo on the web
_NOISE = 24  # of 255; a image then has the 50 to 100 KB of a photo
_QUALITY = 90
_LINES, _LINE_WORDS, _LINE_POINTS = 45, 11, 16
_PAGE_POINTS = 595, 842

CLIP = "ViT-B-32"
SLIGHT: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 64, "layers": 1, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
"""A model that costs next to nothing, with the frame of the real one."""


def jpegs(count: int) -> list[bytes]:
    """Images of circles on noise, no two alike, always the same ones."""
    pick, numbers = random.Random(0), np.random.default_rng(0)
    noise = numbers.integers(-_NOISE, _NOISE + 1, (2 * HEIGHT, 2 * WIDTH, 3), np.int16)
    drawn = []
    for _ in range(count):
        image = Image.new("RGB", (WIDTH, HEIGHT), _colour(pick))
        pen = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, r = pick.randrange(WIDTH), pick.randrange(HEIGHT), pick.randrange(20, 90)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=_colour(pick))
        top, left = pick.randrange(HEIGHT), pick.randrange(WIDTH)
        noisy = np.asarray(image, np.int16) + noise[top : top + HEIGHT, left : left + WIDTH]
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=_QUALITY)
        drawn.append(stream.getvalue())
    return drawn


def pdf(pages: int, seed: int) -> bytes:
    """A PDF of plain text, as a word processor would write it: full pages in one font."""
    pick = random.Random(seed)
    first = 4
    kids = " ".join(f"{first + 2 * page} 0 R" for page in range(pages))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for page in range(pages):
        lines = (" ".join(pick.choices(WORDS, k=_LINE_WORDS)) for _ in range(_LINES))
        shown = "".join(f"({line}) Tj T*\n" for line in lines)
        stream = f"BT /F1 11 Tf {_LINE_POINTS} TL 50 790 Td\n{shown}ET"
        box = f"/MediaBox [0 0 {_PAGE_POINTS[0]} {_PAGE_POINTS[1]}]"
        font = "/Resources << /Font << /F1 3 0 R >> >>"
        content = f"/Contents {first + 2 * page + 1} 0 R"
        objects += [
            f"<< /Type /Page /Parent 2 0 R {box} {font} {content} >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    return _numbered(objects)


def clip(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """An open_clip model of random weights, laid out as the library's push to a hub does.

    Args:
        folder: made, and filled with the model.
        config: as open_clip has it; the library's own for `CLIP` if None.
    """
    import open_clip
    import torch
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg
    from safetensors.torch import save_file

    config = config or open_clip.get_model_config(CLIP)
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    preprocess = asdict(PreprocessCfg(size=config["vision_cfg"]["image_size"]))
    set_model_preprocess_cfg(model, preprocess)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    return folder


def _colour(pick: random.Random) -> tuple[int, int, int]:
    return pick.randrange(256), pick.randrange(256), pick.randrange(256)


def _numbered(objects: list[str]) -> bytes:
    """Objects 1, 2, … as the body of a PDF, with the table of where each is."""
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("ascii")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    tail += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + tail.encode("ascii")
