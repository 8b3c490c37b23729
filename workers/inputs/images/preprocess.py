"""Image preprocessing: fits a decoded image into a model's frame.

It scales, crops or pads like `open_clip.transform.image_transform_v2`, and converts other colour
modes to RGB. The pixels equal those of open_clip for every RGB, grey and CMYK image, with two
improvements: transparency is composed over white, and an embedded colour profile other than sRGB is
applied. Both happen after scaling, where they cost almost nothing. `decode` detects and limits the
files.
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
_MAX_CUT = 64  # frames: anything beyond would be cropped after scaling
_SIXTEEN_BITS = 65_535
_PROFILE_BYTES = 4 * 1024 * 1024  # profiles of printing presses have up to 3 MiB
_PROFILES = (
    8  # cached: building a transform takes longer than decoding a small photo, and few are in use
)


def framed(image: Image.Image, frame: Frame, *, size: tuple[int, int] | None = None) -> Pixels:
    """Fit a loaded image of any mode into the frame.

    Args:
        image: an upright image; it is not modified.
        frame: the frame of the model.
        size: width and height of the original, if it was decoded at a smaller scale.

    Raises:
        UnreadableInput: The pixel format is not supported.
    """
    profile = image.info.get("icc_profile")
    plain = _plain(image)
    size = size or plain.size
    if frame.resize == "shortest":
        plain, size = _cut(plain, size, frame)
    scaled = plain.resize(_scaled_size(size, frame), _filter(frame))
    return _placed(_rgb(scaled, profile), frame)


def _plain(image: Image.Image) -> Image.Image:
    """Convert to a mode that can be scaled: L, RGB, RGBA or CMYK."""
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
    """Crop the middle of an image so long that scaling it would take more memory than it has."""
    wide, high = frame.width / size[0], frame.height / size[1]
    scale = max(wide, high)  # the scale that fills the frame
    cropped = (
        min(size[0], _side(_MAX_CUT * frame.width, scale)),
        min(size[1], _side(_MAX_CUT * frame.height, scale)),
    )
    if cropped == size:
        return image, size
    # In actual pixels, which may be fewer than those of `size`.
    width, height = (
        max(1, round(have * keep / of))
        for have, keep, of in zip(image.size, cropped, size, strict=True)
    )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)), cropped


def _side(side: int, scale: float) -> int:
    return max(1, round(side / scale))


def _scaled_size(size: tuple[int, int], frame: Frame) -> tuple[int, int]:
    """Width and height to scale to, before cropping or padding."""
    width, height = size
    if frame.resize == "squash":
        return frame.width, frame.height
    if frame.resize == "shortest" and frame.height == frame.width:
        # torchvision's Resize truncates the fraction; ResizeKeepRatio rounds.
        if width <= height:
            return frame.width, int(frame.width * height / width)
        return int(frame.height * width / height), frame.height
    ratios = (height / frame.height, width / frame.width)
    ratio = min(ratios) if frame.resize == "shortest" else max(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _filter(frame: Frame) -> Image.Resampling:
    if frame.resize == "shortest" and frame.height != frame.width:
        return Image.Resampling.BICUBIC  # open_clip supports no other here
    return _FILTERS[frame.interpolation]


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB, over white."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    if profile and image.mode in ("RGB", "CMYK"):
        image = _in_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply the colour profile; an sRGB or invalid profile changes nothing."""
    if len(profile) > _PROFILE_BYTES:
        return image
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


@lru_cache(_PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from the profile to sRGB; None if none is needed."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    described = source.profile.profile_description or ""
    if source.profile.xcolor_space.strip() != mode or "sRGB" in described:
        return None
    return ImageCms.buildTransform(source, _srgb(), mode, "RGB")


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _placed(image: Image.Image, frame: Frame) -> Pixels:
    """Centre the image in the frame: cropped where larger, padded where smaller."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    placed = np.full((frame.height, frame.width, 3), frame.fill, np.uint8)
    into_y, from_y = _middle(frame.height, height)
    into_x, from_x = _middle(frame.width, width)
    placed[into_y, into_x] = pixels[from_y, from_x]
    return placed


def _middle(frame: int, side: int) -> tuple[slice, slice]:
    """Along one side: the target slice of the frame and the source slice of the image."""
    if side < frame:
        before = (frame - side) // 2
        return slice(before, before + side), slice(0, side)
    before = round((side - frame) / 2)  # half to even, as open_clip rounds
    return slice(0, frame), slice(before, before + frame)
