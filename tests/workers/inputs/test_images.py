from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from shared.errors import UnreadableInput
from tests.workers.inputs.synthetic_images import (
    BLUE,
    RED,
    chunk,
    flag,
    gif_of_many_frames,
    photo,
    png,
    saved,
)
from workers.inputs.images import decode
from workers.inputs.images.decode import FramedImage, ImageLimits, read, sent_size, tokens_of
from workers.inputs.images.frame import Frame, Pixels
from workers.sandbox.pool import Sandbox

SMALL = Frame(height=16, width=16, resize="squash")
BOUNDS = ImageLimits()
WHITE = (255, 255, 255)
unheard = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in a child
IMAGES = Path(__file__).parents[3].parent / "shared" / "data" / "images"


def read_small(data: bytes) -> FramedImage:
    return read(data, SMALL, BOUNDS)


def near(pixels: Pixels, left: tuple[int, ...], right: tuple[int, ...], *, off: int = 6) -> bool:
    """Whether the image is of one colour on the left and another on the right."""
    sides = np.stack([pixels[:, 1], pixels[:, -2]]).astype(int)  # (2, H, 3)
    wanted = np.array([left, right])[:, None, :]
    return bool((abs(sides - wanted) <= off).all())


def grey(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    level = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    assert isinstance(level, int)
    return level, level, level


def with_alpha() -> Image.Image:
    """Red where it can be seen; on the right a blue that cannot."""
    image = flag().convert("RGBA")
    image.putalpha(0)
    image.paste((*RED, 255), (0, 0, 20, 20))
    return image


def palette_with_a_hole() -> Image.Image:
    image = Image.new("P", (40, 20), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (20, 0, 40, 20))
    return image


def in_mode(mode: str) -> Image.Image:
    return flag().quantize(4) if mode == "P" else flag().convert(mode)


def rows_16(*samples: int) -> bytes:
    """20 rows, red on the left and blue on the right, 16 bits a sample."""
    left, right = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    row = b"\x00" + struct.pack(f">{len(left)}H", *left) * 20
    return (row + struct.pack(f">{len(right)}H", *right) * 20) * 20


RED_16, BLUE_16 = ([each * 257 for each in colour] for colour in (RED, BLUE))
GREYS = (grey(RED), grey(BLUE))
LA = flag().convert("LA")
LA.paste((0, 0), (20, 0, 40, 20))

DRAWN: dict[str, tuple[bytes, tuple[int, ...], tuple[int, ...]]] = {
    **{
        f"{kind} {mode}": (saved(in_mode(mode), kind), RED, BLUE)
        for kind, modes in {
            "PNG": ("RGB", "RGBA", "P"),
            "JPEG": ("RGB", "CMYK", "YCbCr"),
            "GIF": ("RGB", "P"),
            "WEBP": ("RGB", "RGBA"),
            "AVIF": ("RGB", "RGBA"),
            "TIFF": ("RGB", "RGBA", "P", "CMYK", "YCbCr"),
            "BMP": ("RGB", "P", "RGBA"),
        }.items()
        for mode in modes
    },
    **{
        f"{kind} L": (saved(flag().convert("L"), kind), *GREYS)
        for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
    },
    **{
        f"{kind} transparent": (saved(with_alpha(), kind), RED, WHITE)
        for kind in ("PNG", "WEBP", "AVIF", "TIFF", "GIF")
    },
    **{
        f"{kind} 1 bit": (saved(flag().convert("L").point(lambda v: 255 * (v > 80), "1"), kind),
                          WHITE, (0, 0, 0))
        for kind in ("PNG", "TIFF", "BMP", "GIF")
    },
    "PNG LA": (saved(LA, "PNG"), grey(RED), WHITE),
    "PNG palette with a hole": (saved(palette_with_a_hole(), "PNG", transparency=1), RED, WHITE),
    "PNG palette half seen": (
        saved(palette_with_a_hole(), "PNG", transparency=b"\xff\x80"), RED, (137, 157, 237)),
    "PNG colour that is clear": (saved(flag(), "PNG", transparency=BLUE), RED, WHITE),
    "PNG grey that is clear": (
        saved(flag().convert("L"), "PNG", transparency=GREYS[1][0]), GREYS[0], WHITE),
    "PNG RGB of 16 bits": (
        png(40, 20, depth=16, colour=2, rows=rows_16(*RED_16, *BLUE_16)), RED, BLUE),
    "PNG RGBA of 16 bits": (
        png(40, 20, depth=16, colour=6, rows=rows_16(*RED_16, 65535, *BLUE_16, 0)), RED, WHITE),
    "PNG grey of 16 bits": (
        png(40, 20, depth=16, colour=0, rows=rows_16(200 * 257, 20 * 257)), (200,) * 3, (20,) * 3),
    "TIFF grey of 16 bits": (
        saved(Image.fromarray(np.full((20, 40), 120 * 256, np.uint16)), "TIFF"),
        (120,) * 3, (120,) * 3),
    "TIFF grey of 32 bits": (
        saved(Image.fromarray(np.full((20, 40), 120 * 256, np.int32)), "TIFF"),
        (120,) * 3, (120,) * 3),
    "TIFF deflated": (saved(flag(), "TIFF", compression="tiff_adobe_deflate"), RED, BLUE),
    "TIFF of two pages": (
        saved(flag(), "TIFF", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "JPEG progressive": (saved(flag(), "JPEG", progressive=True), RED, BLUE),
    "JPEG with a second image": (
        saved(flag(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "GIF moving": (
        saved(flag(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "WebP moving": (
        saved(flag(), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "PNG moving": (
        saved(flag(), "PNG", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "AVIF moving": (
        saved(flag(), "AVIF", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        RED, BLUE),
    "GIF of 10,000 frames": (gif_of_many_frames(10_000), RED, BLUE),
    "GIF that is a script too": (
        saved(flag(), "GIF") + b"/*<script>alert(1)</script>*/=1;", RED, BLUE),
    "PNG that is a zip too": (saved(flag(), "PNG") + b"PK\x03\x04" + bytes(99), RED, BLUE),
}  # fmt: skip


@pytest.mark.parametrize(("data", "left", "right"), DRAWN.values(), ids=DRAWN)
def test_every_kind_of_image_has_its_colours(
    data: bytes, left: tuple[int, ...], right: tuple[int, ...]
):
    image = read_small(data)

    assert near(image.pixels, left, right)
    assert (image.width, image.height) == (40, 20)
    assert image.pixels.shape == (16, 16, 3)
    assert image.pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_image_stands_upright(kind: str, orientation: int):
    drawn = photo(36, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    data = saved(drawn, kind, exif=exif, **lossless.get(kind, {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    image = read_small(data)

    assert (image.width, image.height) == ((36, 24) if orientation < 5 else (24, 36))
    exact = np.asarray(upright.convert("RGB").resize((16, 16), Image.Resampling.BICUBIC), int)
    assert abs(image.pixels - exact).max() <= 3
    if orientation > 1:
        lying = np.asarray(drawn.resize((16, 16)), int)
        assert abs(image.pixels - lying).max() > 60


@unheard
def test_a_broken_exif_is_no_reason_to_refuse():
    data = saved(flag(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xff" * 40)

    assert near(read_small(data).pixels, RED, BLUE)


def wide_gamut() -> bytes:
    """A profile whose red and green are swapped, so that it cannot be overlooked."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    places = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")))


def test_colours_are_those_of_the_profile():
    plain = read_small(saved(Image.new("RGB", (9, 9), RED), "PNG")).pixels
    swapped = read_small(saved(Image.new("RGB", (9, 9), RED), "PNG", icc_profile=wide_gamut()))

    assert abs(swapped.pixels[0, 0].astype(int) - plain[0, 0][[1, 0, 2]]).max() <= 4


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_profile_that_makes_no_sense_is_ignored(mode: str):
    for profile in (b"nonsense", wide_gamut()[:200], wide_gamut().replace(b"RGB ", b"Lab ")):
        data = saved(flag().convert(mode), "TIFF", icc_profile=profile)

        assert near(read_small(data).pixels, *(GREYS if mode == "L" else (RED, BLUE)))


def webp_head(width: int, height: int) -> bytes:
    """The first chunk of a WebP, of a canvas of that size."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + sides + bytes(64)


def with_size(data: bytes, kind: str, width: int, height: int) -> bytes:
    """A small image whose head claims another size."""
    if kind == "BMP":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    if kind == "GIF":
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


@pytest.mark.parametrize(
    ("data", "megapixels"),
    [
        (png(50_000, 50_000, depth=8, colour=2, rows=bytes(1_000)), "2,500"),
        (with_size(saved(flag(), "JPEG"), "JPEG", 60_000, 60_000), "3,600"),
        (with_size(saved(flag(), "GIF"), "GIF", 65_535, 65_535), "4,295"),
        (with_size(saved(flag(), "BMP"), "BMP", 20_000, 20_000), "400"),
        (webp_head(16_000, 16_000), "256"),
    ],
    ids=["PNG", "JPEG", "GIF", "BMP", "WebP"],
)
def test_a_bomb_is_refused_by_its_head(data: bytes, megapixels: str):
    with pytest.raises(UnreadableInput, match=f"^has {megapixels} megapixels; the limit is 100"):
        read_small(data)


@pytest.mark.parametrize("kind", ["VP8", "VP8L", "VP8X"])
def test_the_head_of_every_webp_is_understood(kind: str):
    image = with_alpha().resize((90, 60)) if kind == "VP8X" else photo(90, 60)
    data = saved(image, "WEBP", lossless=kind == "VP8L")
    assert data[12:16].strip() == kind.encode()

    with pytest.raises(UnreadableInput, match="megapixels"):
        read(data, SMALL, ImageLimits(max_pixels=90 * 60 - 1))
    read(data, SMALL, ImageLimits(max_pixels=90 * 60))


@pytest.fixture(scope="module")
def packed_zeros() -> bytes:
    """200 MB, packed."""
    return zlib.compress(bytes(200_000_000), 9)


@pytest.mark.parametrize(
    ("name", "head"),
    [(b"iCCP", b"x\x00\x00"), (b"zTXt", b"x\x00\x00"), (b"iTXt", b"x\x00\x01\x00\x00\x00")],
    ids=["profile", "text", "international text"],
)
def test_what_stands_beside_a_image_cannot_take_much_memory(
    name: bytes, head: bytes, packed_zeros: bytes, children: Sandbox
):
    extra = chunk(name, head + packed_zeros)
    data = png(40, 20, depth=8, colour=2, rows=(b"\x00" + bytes(120)) * 20, extra=extra)
    assert len(data) < 250_000

    outcome = through(children, data)

    assert isinstance(outcome, FramedImage) or "memory" not in outcome


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><svg xmlns='x'/>", "is SVG: send PNG or JPEG"),
        (b"<!DOCTYPE html><html><body>Not found", "is a web page, not an image"),
        (b"<!-- a --><HTML lang=en>", "is a web page, not an image"),
        (b'{"error": "not found"}', "is text, not an image"),
        (b"%PDF-1.7 ...", "is a PDF document, not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript: send PNG"),
        (b"8BPS\x00\x01", "is a Photoshop file"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "is HEIC: send PNG or JPEG"),
        (b"\x00\x00\x00\x18ftypmp42", "is a video"),
        (b"PK\x03\x04" + bytes(40), "is a zip archive"),
        (b"\x89PNG\r\n\x1a\n", "is broken PNG"),
        (b"GIF89a", "is broken GIF"),
        (b"P6 1 1 255 abc", "is not an image: send PNG, JPEG, GIF, WebP, AVIF, TIFF or BMP"),
        (b"hello", "is not an image"),
        (bytes(100), "is not an image"),
        (saved(Image.new("F", (9, 9)), "TIFF"), "has the unsupported pixel format F"),
        (saved(flag(), "JPEG2000"), "is JPEG 2000: send PNG or JPEG"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, said: str):
    with pytest.raises(UnreadableInput) as raised:
        read_small(data)

    assert raised.value.detail.startswith(said)


WHOLE = {
    "PNG": saved(photo(90, 60), "PNG"),
    "JPEG": saved(photo(90, 60), "JPEG"),
    "progressive JPEG": saved(photo(90, 60), "JPEG", progressive=True),
    "GIF": saved(photo(90, 60), "GIF"),
    "WebP": saved(photo(90, 60), "WEBP"),
    "TIFF": saved(photo(90, 60), "TIFF"),
    "TIFF by libtiff": saved(photo(90, 60), "TIFF", compression="tiff_lzw"),
    "AVIF": saved(photo(90, 60), "AVIF"),
    "BMP": saved(photo(90, 60), "BMP"),
}


@unheard
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_a_file_cut_off_is_refused(data: bytes):
    for tenth in range(10):
        with pytest.raises(UnreadableInput, match=r"^is (empty|truncated|broken|not an image)"):
            read_small(data[: len(data) * tenth // 10])


@pytest.fixture(scope="module")
def children() -> Iterator[Sandbox]:
    with Sandbox([decode.__name__], workers=2, memory_bytes=300_000_000, waiting=10_000) as made:
        yield made


def through(children: Sandbox, data: bytes, frame: Frame = SMALL) -> FramedImage | str:
    try:
        return children.submit(read, data, frame, BOUNDS, limit_s=10).result(60)
    except UnreadableInput as exc:
        return exc.detail


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_bytes_changed_by_chance_give_a_image_or_a_refusal(data: bytes, children: Sandbox):
    chance = random.Random(len(data))

    for outcome in [through(children, mutated(data, chance)) for _ in range(60)]:
        if isinstance(outcome, str):
            assert "crashed" not in outcome
            assert "within" not in outcome
    assert isinstance(through(children, data), FramedImage)


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20))):
        # Heads are more interesting than pixels.
        place = chance.randrange(min(len(changed), chance.choice((64, 700, len(changed)))))
        changed[place] = chance.choice((0, 255, 127, 128, chance.randrange(256)))
    if chance.random() < 0.2:
        place = chance.randrange(len(changed))
        del changed[place : place + chance.randrange(1, 40)]
    return bytes(changed)


def test_children_give_what_the_function_gives(children: Sandbox):
    data = saved(photo(300, 200), "JPEG")
    frame = Frame(height=224, width=224)

    got, direct = through(children, data, frame), read(data, frame, BOUNDS)

    assert isinstance(got, FramedImage)
    assert np.array_equal(got.pixels, direct.pixels)
    assert (got.width, got.height) == (300, 200)


def test_every_example_image_is_read(children: Sandbox):
    if not IMAGES.is_dir():
        pytest.skip("the example images are not beside the repository")
    files = [path for path in sorted(IMAGES.rglob("*")) if path.suffix in {".jpg", ".png"}]
    frame = Frame(height=224, width=224)

    outcomes = {path.name: through(children, path.read_bytes(), frame) for path in files}

    assert len(files) > 500
    assert {name: each for name, each in outcomes.items() if isinstance(each, str)} == {}


@pytest.mark.parametrize("resize", ["shortest", "longest"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photo_read_at_a_smaller_scale_is_close_to_the_exact_one(
    resize: Any, orientation: int
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn = photo(3001, 2003)
    data = saved(drawn, "JPEG", quality=90, exif=exif)
    frame = Frame(height=224, width=224, resize=resize)

    image = read(data, frame, BOUNDS)

    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    exact = read(saved(upright, "BMP"), frame, BOUNDS)
    off = abs(image.pixels.astype(int) - exact.pixels)
    assert 0 < off.mean() < 1
    assert off.max() <= 12
    assert (image.width, image.height) == (exact.width, exact.height)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (9_000, 3)])
@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
def test_a_line_is_a_image_too(size: tuple[int, int], resize: Any, children: Sandbox):
    outcome = through(
        children,
        saved(Image.new("RGB", size, RED), "PNG"),
        Frame(height=224, width=192, resize=resize, fill=7),
    )

    assert isinstance(outcome, FramedImage)
    assert (outcome.pixels == RED).all(axis=-1).any()


@pytest.mark.parametrize(
    ("width", "height", "cost"),
    [(500, 500, 9_000), (224, 224, 1_000), (225, 224, 2_000), (1, 1, 1_000), (500, 330, 6_000)],
)
def test_every_tile_costs_a_thousand_tokens(width: int, height: int, cost: int):
    assert tokens_of(width, height) == cost


def test_a_large_image_counts_as_one_of_four_megapixels():
    image = read_small(saved(Image.new("L", (4_000, 3_000)), "PNG"))

    assert (image.width, image.height) == sent_size(4_000, 3_000) == (2309, 1732)
    assert sent_size(2_000, 2_000) == (2_000, 2_000)
    assert sent_size(100_000_000, 1) == (20_000_000, 1)


FRAMES = [
    Frame(height=224, width=224),
    Frame(height=224, width=224, interpolation="bilinear"),
    Frame(height=256, width=192),
    Frame(height=200, width=320, interpolation="bilinear"),
    Frame(height=224, width=224, resize="longest", fill=128),
    Frame(height=225, width=384, resize="longest", interpolation="bilinear"),
    Frame(height=384, width=384, resize="squash"),
    Frame(height=96, width=225, resize="squash", interpolation="bilinear"),
]
SIZES = [
    (500, 330), (330, 500), (224, 224), (223, 225), (1, 1), (3, 100), (97, 611), (640, 480),
    (1001, 777), (2_000, 130),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_pixels_are_exactly_those_of_open_clip(frame: Frame, mode: str):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(
        size=(frame.height, frame.width),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation=frame.interpolation,
        resize_mode=frame.resize,
        fill_color=frame.fill,
    )
    transform = image_transform_v2(cfg, is_train=False)
    for size in SIZES:
        drawn = photo(*size).convert(mode)
        theirs = transform(drawn).numpy() * 255  # (3, H, W)

        ours = read(saved(drawn, "TIFF"), frame, BOUNDS).pixels

        if mode == "CMYK" and frame.resize == "longest":
            continue  # open_clip fills with the colour's number in ink
        assert np.array_equal(ours, theirs.round().astype(np.uint8).transpose(1, 2, 0)), size
