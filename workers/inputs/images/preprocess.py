"""An open image in a model's frame: as `open_clip.transform.image_transform_v2` would bring it.

Decides how an image is scaled, cut or padded, and how what is not plain red, green and blue
becomes so. Pixels are those of open_clip for every RGB, grey and CMYK image, but where it does
worse: transparency lies over white, and an embedded colour profile other than sRGB is honoured.
Both are done in the frame, where they cost next to nothing. What a file is, and whether it may be
decoded at all, is not decided here.
"""

from __future__ import annotations

import io
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

from shared.errors import UnreadableInput
from workers.inputs.images.frame import Frame, Pixels

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_SCALED = ("L", "RGB", "CMYK")
_MAX_CUT = 64  # frames: what is beyond would be cut away after it was scaled
_SIXTEEN_BITS = 65_535
_PROFILE_BYTES = 4 * 1024 * 1024  # those of printing presses have up to 3
_PROFILES = 8  # to make one ready takes longer than to decode a small photo, and few are in use


def framed(image: Image.Image, frame: Frame, *, size: tuple[int, int] | None = None) -> Pixels:
    """A loaded image of any mode in the frame.

    Args:
        image: upright; not changed.
        frame: what the model wants.
        size: width and height before it was decoded at a smaller scale, if it was.

    Raises:
        UnreadableInput: Its values are no colours.
    """
    profile = image.info.get("icc_profile")
    plain = _plain(image)
    size = size or plain.size
    if frame.resize == "shortest":
        plain, size = _cut(plain, size, frame)
    scaled = plain.resize(_scaled_size(size, frame), _filter(frame))
    return _placed(_rgb(scaled, profile), frame)


def _plain(image: Image.Image) -> Image.Image:
    """The image in a mode that can be scaled: L, RGB, RGBA or CMYK."""
    if image.mode == "RGBA" or (image.mode in _SCALED and "transparency" not in image.info):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":
        values = np.asarray(image).clip(0, _SIXTEEN_BITS)
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "YCbCr", "HSV"):
        return image.convert("RGB")
    raise UnreadableInput(f"has the unsupported pixel format {image.mode}: send 8-bit RGB")


def _cut(
    image: Image.Image, size: tuple[int, int], frame: Frame
) -> tuple[Image.Image, tuple[int, int]]:
    """The middle of an image so long that scaling all of it would take more memory than it has."""
    wide, high = frame.width / size[0], frame.height / size[1]
    least = max(wide, high)  # the scale that fills the frame
    kept = (
        min(size[0], _most(_MAX_CUT * frame.width, least)),
        min(size[1], _most(_MAX_CUT * frame.height, least)),
    )
    if kept == size:
        return image, size
    # In the pixels that there are, which may be fewer than those of `size`.
    width, height = (
        max(1, round(have * keep / of))
        for have, keep, of in zip(image.size, kept, size, strict=True)
    )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)), kept


def _most(side: int, scale: float) -> int:
    return max(1, round(side / scale))


def _scaled_size(size: tuple[int, int], frame: Frame) -> tuple[int, int]:
    """Width and height to scale to, before the frame is cut out of it or filled around it."""
    width, height = size
    if frame.resize == "squash":
        return frame.width, frame.height
    if frame.resize == "shortest" and frame.height == frame.width:
        # torchvision's Resize cuts the fraction off where ResizeKeepRatio rounds.
        if width <= height:
            return frame.width, int(frame.width * height / width)
        return int(frame.height * width / height), frame.height
    ratios = (height / frame.height, width / frame.width)
    ratio = min(ratios) if frame.resize == "shortest" else max(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _filter(frame: Frame) -> Image.Resampling:
    if frame.resize == "shortest" and frame.height != frame.width:
        return Image.Resampling.BICUBIC  # open_clip knows no other here
    return _FILTERS[frame.interpolation]


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Red, green and blue as sRGB, over white."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    if profile and image.mode in ("RGB", "CMYK"):
        image = _in_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Its colours by the profile; as they are, where it is sRGB already or makes no sense."""
    if len(profile) > _PROFILE_BYTES:
        return image
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


@lru_cache(_PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None where there is nothing to do."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    described = source.profile.profile_description or ""
    if source.profile.xcolor_space.strip() != mode or "sRGB" in described:
        return None
    return ImageCms.buildTransform(source, _srgb(), mode, "RGB")


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _placed(image: Image.Image, frame: Frame) -> Pixels:
    """The middle of the image in the middle of the frame: cut where larger, filled where less."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    placed = np.full((frame.height, frame.width, 3), frame.fill, np.uint8)
    into_y, from_y = _middle(frame.height, height)
    into_x, from_x = _middle(frame.width, width)
    placed[into_y, into_x] = pixels[from_y, from_x]
    return placed


def _middle(frame: int, side: int) -> tuple[slice, slice]:
    """Where the pixels go to in the frame, and which of the image they are, along one side."""
    if side < frame:
        before = (frame - side) // 2
        return slice(before, before + side), slice(0, side)
    before = round((side - frame) / 2)  # half to even, as open_clip rounds
    return slice(0, frame), slice(before, before + frame)
