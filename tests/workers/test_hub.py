"""The model hub's files: from the local cache alone unless fetching is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from shared.errors import ConfigurationError
from workers.models import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds `config.json` of one repository, as the hub's client lays it out."""
    repository = tmp_path / "models--acme--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_the_best_file_that_is_here_is_taken(cache: Path) -> None:
    with hub.reach(allow_download=False):
        path = hub.file("acme/clip", ["other.json", "config.json"], revision=None, model="m")

    assert path.read_text() == "{}"
    assert hub.commit(path) == COMMIT


@pytest.mark.parametrize(
    ("repository", "name"), [("acme/clip", "weights.bin"), ("acme/other", "config.json")]
)
def test_a_file_that_is_not_here_is_not_fetched(cache: Path, repository: str, name: str) -> None:
    with (
        hub.reach(allow_download=False),
        pytest.raises(ConfigurationError, match="pigeonhole-server models pull m "),
    ):
        hub.file(repository, [name], revision=None, model="m")


def test_a_name_that_is_none_is_refused(cache: Path) -> None:
    with (
        hub.reach(allow_download=False),
        pytest.raises(ConfigurationError, match="a/b/c is not a valid name on the hub"),
    ):
        hub.file("a/b/c", ["config.json"], revision=None, model="m")


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    with (
        hub.reach(allow_download=True),
        pytest.raises(ConfigurationError, match="m cannot be downloaded from acme/other"),
    ):
        hub.file("acme/other", ["config.json"], revision=None, model="m")


def test_reach_ends_with_its_block() -> None:
    before = constants.HF_HUB_OFFLINE

    with hub.reach(allow_download=False):
        assert constants.HF_HUB_OFFLINE

    assert before == constants.HF_HUB_OFFLINE
