"""Images drawn for tests, also such as no program writes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

RED = (200, 50, 25)
BLUE = (20, 60, 220)


def flag(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def photo(width: int, height: int, *, seed: int = 1) -> Image.Image:
    """Smooth shapes, edges and a little noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
    shapes = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = random.integers(-12, 13, (height, width, 1), np.int16)
    return Image.fromarray((shapes + noise).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)  # type: ignore[arg-type]
    return held.getvalue()


def png(
    width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b""
) -> bytes:
    """A PNG by hand: `rows` with their filter bytes, `extra` chunks before them."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + data + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif_of_many_frames(frames: int) -> bytes:
    """The first is the flag, the others each a pixel; no two are shown for the same time."""
    first = saved(flag(), "GIF")
    others = (
        b"\x21\xf9\x04\x00" + struct.pack("<H", n) + b"\x00\x00"  # shown for n / 100 s
        # At x, y; 1 x 1; of the codes 4 (begin), 0 (the first colour) and 5 (end), of 3 bits each.
        b"\x2c" + struct.pack("<HHHHB", n % 40, n // 40 % 20, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
        for n in range(1, frames)
    )  # fmt: skip
    return first[:-1] + b"".join(others) + b";"
