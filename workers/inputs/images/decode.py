"""Image decoder: an image file in a supported format becomes pixels in a model's frame.

This module defines the supported formats, the size limit (decompression bombs) and the error
messages. It runs in a child process of `workers.sandbox`, which limits memory and time, since a
decoder may crash. `workers.inputs.images.preprocess` fits the pixels into the frame.

Formats are an allowlist; each decoder reads from memory and starts no other program. Of an animated
image only the first frame is decoded.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import NoReturn

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from shared.errors import UnreadableInput
from workers.inputs.images.frame import Frame, Pixels
from workers.inputs.images.preprocess import framed

TILE = 224
TILE_TOKENS = 1_000
_SENT_PIXELS = 4_000_000  # a larger image counts as if it had this size
_DRAFT = 3  # times the frame: minimum size of a JPEG that is decoded at a smaller scale

# The plugins are imported explicitly: given a list, Pillow loads only five by itself.
_FORMATS = {
    plugin.format: magics
    for plugin, magics in (
        (JpegImagePlugin.JpegImageFile, (b"\xff\xd8\xff",)),
        (PngImagePlugin.PngImageFile, (b"\x89PNG",)),
        (GifImagePlugin.GifImageFile, (b"GIF8",)),
        (WebPImagePlugin.WebPImageFile, (b"RIFF",)),
        (AvifImagePlugin.AvifImageFile, ()),
        (TiffImagePlugin.TiffImageFile, (b"II*\x00", b"MM\x00*")),
        (BmpImagePlugin.BmpImageFile, (b"BM",)),
    )
}
_SEND = "send PNG or JPEG"
_FOREIGN = (
    (0, b"%PDF-", "a PDF document, not an image"),
    (0, b"%!PS", f"PostScript: {_SEND}"),
    (0, b"8BPS", f"a Photoshop file: {_SEND}"),
    (0, b"\x00\x00\x01\x00", f"an icon: {_SEND}"),
    (0, b"\x00\x00\x00\x0cjP  ", f"JPEG 2000: {_SEND}"),
    (0, b"\xff\x0a", f"JPEG XL: {_SEND}"),
    (0, b"\x00\x00\x00\x0cJXL ", f"JPEG XL: {_SEND}"),
    (4, b"ftyphe", f"HEIC: {_SEND}"),
    (4, b"ftypmif1", f"HEIC: {_SEND}"),
    (4, b"ftypmp4", "a video, not an image"),
    (4, b"ftypisom", "a video, not an image"),
    (0, b"PK\x03\x04", "a zip archive, not an image"),
    (0, b"\x1f\x8b", f"compressed by gzip: {_SEND}"),
)
_HEAD_BYTES = 1_024
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    EOFError, RuntimeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """The limits of an image; the sandbox limits memory and time."""

    max_pixels: int = 100_000_000


@dataclass(frozen=True, kw_only=True)
class FramedImage:
    """An image in a frame.

    Attributes:
        pixels: (H, W, 3) of the frame.
        width, height: upright size, limited to 4 megapixels; tokens are counted by it.
    """

    pixels: Pixels
    width: int
    height: int


def read(data: bytes, frame: Frame, bounds: ImageLimits) -> FramedImage:
    """Decode an image into the frame.

    Raises:
        UnreadableInput: The data is not an image, is broken, or has too many pixels.
        MemoryError: The image does not fit into memory.
    """
    Image.MAX_IMAGE_PIXELS = None  # `_check_pixels` applies our limit before anything is decoded
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread costs address space
    if not data:
        raise UnreadableInput("is empty")
    _check_pixels(_webp_size(data), bounds)  # Pillow allocates memory for a WebP when it opens it
    with _opened(data) as image:
        size = image.size
        _check_pixels(size, bounds)
        upright = _loaded(image, frame)
        if upright.width != image.width:  # the EXIF orientation rotates it
            size = size[1], size[0]
        try:
            pixels = framed(upright, frame, size=size)
        except (OSError, ValueError, OverflowError) as exc:
            _refuse_broken(image.format, exc)
    width, height = sent_size(*size)
    return FramedImage(pixels=pixels, width=width, height=height)


def sent_size(width: int, height: int) -> tuple[int, int]:
    """The size that an image counts as: its own, or scaled down to 4 megapixels.

    >>> sent_size(500, 330), sent_size(8000, 6000)
    ((500, 330), (2309, 1732))
    """
    if width * height <= _SENT_PIXELS:
        return width, height
    scale = math.sqrt(_SENT_PIXELS / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def tokens_of(width: int, height: int) -> int:
    """The token count of an image: 1,000 for each full or partial tile of 224 by 224 pixels.

    >>> tokens_of(500, 500), tokens_of(224, 224), tokens_of(225, 1)
    (9000, 1000, 2000)
    """
    return TILE_TOKENS * math.ceil(width / TILE) * math.ceil(height / TILE)


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
    except UnidentifiedImageError as exc:
        raise UnreadableInput(_what(data)) from exc
    except _BROKEN as exc:
        _refuse_broken(_format_of(data), exc)


def _check_pixels(size: tuple[int, int], bounds: ImageLimits) -> None:
    pixels = size[0] * size[1]
    if pixels > bounds.max_pixels:
        raise UnreadableInput(
            f"has {pixels / 1e6:,.0f} megapixels; the limit is {bounds.max_pixels / 1e6:,.0f}"
        )


def _loaded(image: Image.Image, frame: Frame) -> Image.Image:
    """Load the pixels, at the smallest sufficient scale, upright."""
    try:
        _draft(image, frame)
        image.load()
    except _BROKEN as exc:
        _refuse_broken(image.format, exc)
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # broken metadata does not make the image unreadable
        return image


def _draft(image: Image.Image, frame: Frame) -> None:
    """Let a large JPEG be decoded at a half, a quarter or an eighth of its size.

    The frame then differs from the exact one by 0.2 of 255 on average and by 4 at most, measured
    on four photos of 4 and 12 megapixels; one of 12 takes a fifth of the time.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile | MpoImagePlugin.MpoImageFile):
        return
    side = max(image.size) if frame.resize == "longest" else min(image.size)
    ratio = side / (_DRAFT * max(frame.height, frame.width))
    if ratio >= 2:
        width, height = (max(1, math.ceil(each / ratio)) for each in image.size)
        image.draft(image.mode, (width, height))


def _refuse_broken(kind: str | None, exc: Exception) -> NoReturn:
    """Map an error of a decoder to a message."""
    reason = str(exc)
    if "memory" in reason:
        raise MemoryError from exc
    if "truncated" in reason:
        raise UnreadableInput("is truncated: its end is missing") from exc
    raise UnreadableInput(f"is broken {kind or 'data'}: it cannot be decoded") from exc


def _format_of(data: bytes) -> str | None:
    for name, magics in _FORMATS.items():
        if data.startswith(magics):
            return name
    return None


def _what(data: bytes) -> str:
    """A message for bytes that no decoder accepts; it names the format if it is known."""
    if (known := _format_of(data)) is not None:
        return f"is broken {known}: it cannot be decoded"
    for place, magic, what in _FOREIGN:
        if data.startswith(magic, place):
            return f"is {what}"
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in head:
        return f"is SVG: {_SEND}"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in head:
        return "is a web page, not an image: give the URL of the image itself"
    if head.startswith((b"{", b"[", b"<")):
        return "is text, not an image"
    return "is not an image: send PNG, JPEG, GIF, WebP, AVIF, TIFF or BMP"


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header of a WebP; zeros for other data.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
