"""Which engine answers a request, and with which models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.engine_resolution import AUTO_LABELS, Content, with_engine
from shared.errors import ConfigurationError, InvalidRequest, ModelNotFound
from shared.model_catalogue import AutoEntry, Catalogue, ModelEntry, load
from shared.types import ClassifierVersion, ClassifyRequest, FileReading, Item, Question

VERSION = ClassifierVersion(account="a", classifier_id="c", version=1, file="f")
SMALL, LARGE = (ModelEntry(name=f"nli-{size}", engine="cross_encoder") for size in ("s", "l"))
EMBEDDER = ModelEntry(name="embedder", aliases=("jina",), engine="hashing")
CATALOGUE = Catalogue([EMBEDDER, SMALL, LARGE], default="embedder")


class Worker:
    """A worker that holds some models; `restarting`: one that held them a moment ago."""

    def __init__(self, *names: str, restarting: bool = False) -> None:
        self.names, self.restarting = frozenset(names), restarting

    def __call__(self, models: Sequence[ModelEntry], /, *, lately: bool = False) -> bool:
        return (lately or not self.restarting) and {m.name for m in models} <= self.names


BOTH = Worker("embedder", "nli-s", "nli-l")


def resolve(
    worker: Worker = BOTH, *, labels: int = 2, content: Content = "texts", **fields: Any
) -> ClassifyRequest:
    asked = {"model": "embedder", **fields}
    request = ClassifyRequest(
        items=(Item(text="one"),),
        questions=(Question(labels=tuple(map(str, range(labels)))),),
        **asked,
    )
    return with_engine(request, catalogue=CATALOGUE, holds=worker, content=content)


def models_of(request: ClassifyRequest) -> tuple[str | None, str, str | None, str]:
    return request.engine, request.model, request.nli_model, request.queue_model


def test_a_request_without_an_engine_stays_as_it_is():
    assert models_of(resolve()) == (None, "embedder", None, "embedder")


def test_nli_runs_on_the_first_nli_model_that_is_held():
    assert models_of(resolve(engine="nli")) == ("nli", "nli-s", None, "nli-s")
    large = resolve(Worker("embedder", "nli-l"), engine="nli")
    assert models_of(large) == ("nli", "nli-l", None, "nli-l")


def test_hybrid_runs_where_both_of_its_models_are_held():
    assert models_of(resolve(engine="hybrid")) == ("hybrid", "embedder", "nli-s", "nli-s")
    with pytest.raises(ModelNotFound, match="no running worker holds one beside embedder"):
        resolve(Worker("nli-s"), engine="hybrid")


@pytest.mark.parametrize(("engine", "model"), [("nli", "nli-l"), ("hybrid", "embedder")])
def test_an_nli_model_may_be_named(engine: str, model: str):
    request = resolve(model="nli-l", engine=engine)

    assert (request.model, request.queue_model) == (model, "nli-l")


def test_an_nli_model_without_its_engine_is_refused():
    with pytest.raises(InvalidRequest, match=r'model: nli-s is an NLI model.*"engine": "nli"'):
        resolve(model="nli-s")


def test_auto_is_hybrid_for_few_labels_where_an_nli_model_is_held():
    assert resolve(engine="auto", labels=AUTO_LABELS).engine == "hybrid"
    assert resolve(engine="auto", labels=AUTO_LABELS + 1).engine == "embedding"
    assert resolve(Worker("embedder"), engine="auto").engine == "embedding"
    assert resolve(engine="auto", content="documents").engine == "embedding"
    assert resolve(engine="auto", classifier=VERSION).engine == "embedding"
    assert resolve(engine="auto", scores="raw").engine == "embedding"


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_a_missing_model_is_named_with_the_command_that_gets_it(engine: str):
    with pytest.raises(ModelNotFound, match=r"models pull nli-s' \(or nli-l\)") as refusal:
        resolve(Worker("embedder"), engine=engine)

    assert refusal.value.fields[0].field == "engine"


def test_with_a_fallback_embeddings_answer_for_a_missing_model():
    request = resolve(Worker("embedder"), engine="nli", engine_fallback=True)

    assert models_of(request) == ("embedding", "embedder", None, "embedder")
    assert resolve(engine="nli", engine_fallback=True).engine == "nli"


def test_a_worker_that_restarts_is_waited_for_unless_embeddings_may_answer():
    restarting = Worker("embedder", "nli-s", restarting=True)

    assert resolve(restarting, engine="nli").engine == "nli"
    assert resolve(restarting, engine="auto").engine == "embedding"
    assert resolve(restarting, engine="nli", engine_fallback=True).engine == "embedding"


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_classifiers_and_images_have_embeddings_only(engine: str):
    with pytest.raises(InvalidRequest, match="a classifier has learnt from embeddings"):
        resolve(engine=engine, classifier=VERSION)
    with pytest.raises(InvalidRequest, match="leave engine out for images"):
        resolve(engine=engine, content="images")


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_documents_are_compared_by_their_whole_text(engine: str):
    assert resolve(engine=engine, content="documents").engine == engine
    by_text = FileReading(by="text", max_pages=3)
    assert resolve(engine=engine, content="documents", files=by_text).engine == engine
    for by in ("pages", "both"):
        with pytest.raises(InvalidRequest, match=r"file_by: .* compares texts only"):
            resolve(engine=engine, content="documents", files=FileReading(by=by))
    with pytest.raises(InvalidRequest, match=r"per_page: .* judges a document as a whole"):
        resolve(engine=engine, content="documents", files=FileReading(per_page=True))


def test_what_an_engine_does_not_measure_is_refused():
    with pytest.raises(InvalidRequest, match="unknown_below: needs embeddings"):
        resolve(engine="nli", unknown_below=0.5)
    with pytest.raises(InvalidRequest, match="scores: hybrid mixes calibrated probabilities"):
        resolve(engine="hybrid", scores="raw")
    assert resolve(engine="nli", scores="raw").engine == "nli"
    assert resolve(engine="hybrid", unknown_below=0.5).engine == "hybrid"


def test_an_nli_model_is_no_default_and_embeds_nothing():
    with pytest.raises(ConfigurationError, match="is an NLI model"):
        load(default="nli-deberta-v3-xsmall")
    with pytest.raises(InvalidRequest, match="name a model that does, such as embedder"):
        CATALOGUE.find_embedder("nli-s")


def test_the_temperature_of_logits_is_one():
    assert (SMALL.temperature, EMBEDDER.temperature) == (1.0, 0.06)


class TestAuto:
    WIDE = ModelEntry(name="wide", engine="hashing")
    PAIR = AutoEntry(english="embedder", multilingual="wide", aliases=("many-languages",))
    CATALOGUE = Catalogue([EMBEDDER, WIDE, SMALL], default="auto", auto=PAIR)

    def resolve(self, worker: Worker, **fields: Any) -> ClassifyRequest:
        asked = {"model": "auto", "questions": (Question(labels=("a", "b")),), **fields}
        request = ClassifyRequest(items=(Item(text="one"),), **asked)
        return with_engine(request, catalogue=self.CATALOGUE, holds=worker, content="texts")

    @pytest.mark.parametrize("name", ["auto", "many-languages"])
    def test_is_both_models_in_the_queue_of_the_rarer_one(self, name: str):
        request = self.resolve(Worker("embedder", "wide"), model=name)

        assert request.models == ("embedder", "wide")
        assert request.queue_model == "wide"

    def test_is_the_english_one_where_no_worker_holds_both(self):
        assert self.resolve(Worker("embedder")).models == ("embedder",)

    def test_is_the_english_one_beside_an_nli_model(self):
        request = self.resolve(Worker("embedder", "wide", "nli-s"), engine="hybrid")

        assert request.models == ("embedder", "nli-s")

    def test_leaves_a_model_that_is_named_alone(self):
        request = self.resolve(Worker("embedder", "wide"), model="embedder")

        assert request.models == ("embedder",)

    def test_must_name_models_of_the_catalogue(self):
        with pytest.raises(ConfigurationError, match="'wide' is not in the catalogue"):
            Catalogue([EMBEDDER], default="auto", auto=self.PAIR)
