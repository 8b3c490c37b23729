"""Models that are offloaded while nothing uses them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from shared.errors import Unavailable
from shared.limits import Limits
from shared.member_reports import PROBE_ACCOUNT
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from shared.types import ClassifyRequest, ClassifyResult, Item, Priority, Question
from tests.fake_media import FakeMedia
from tests.fakes import FakeStore
from workers import model_loader
from workers.classifier_cache import ClassifierCache
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.classify import ClassifyHandler
from workers.microbatching import token_budget
from workers.microbatching.throughput import Throughput
from workers.model_loader import load_models
from workers.model_offloader import ModelOffloader
from workers.models.hashing import HashingEncoder
from workers.models.idle_encoder import IdleEncoder
from workers.work_context import WorkContext
from workers.worker_report import report_of

OURS = WorkContext(priority=Priority.STANDARD, account="acme")
PROBE = WorkContext(priority=Priority.FAST, account=PROBE_ACCOUNT)


@pytest.fixture
def models() -> Iterator[dict[str, LoadedModel]]:
    """The default model and another one, of a worker that offloads."""
    entries = [ModelEntry(name=name, engine="hashing") for name in ("first", "second")]
    _, models = load_models(
        Catalogue(entries, default="first"),
        Settings(device="cpu", model_idle_s=0.05),
        observe=lambda _: lambda *_: None,
    )
    yield models
    for model in models.values():
        for batcher in model.batchers:
            batcher.close()


def embed(model: LoadedModel, text: str, context: WorkContext = OURS) -> np.ndarray:
    return model.embedder.embed(model.tokenizer.tokenise([text]), context).result(60)


def states(models: dict[str, LoadedModel]) -> dict[str, str]:
    return {name: model.idle.state for name, model in models.items() if model.idle}


def test_models_other_than_the_default_begin_cold(models):
    assert states(models) == {"first": "loaded", "second": "cold"}


def test_a_pass_loads_a_cold_model_and_gives_the_same_rows(models):
    began = time.monotonic()
    assert [model.idle.waited_ms(began) for model in models.values()] == [0, 0]
    assert models["second"].tokenizer.tokenise(["a red rose"])[0]

    rows = embed(models["second"], "a red rose")

    assert states(models)["second"] == "loaded"
    assert models["second"].idle.waited_ms(began) >= 0
    models["second"].idle.offload()
    assert np.array_equal(embed(models["second"], "a red rose"), rows)


def test_the_offloader_frees_what_nobody_used(models):
    offloader = ModelOffloader(models.values(), idle_s=30)
    embed(models["second"], "a red rose")
    offloader.offload()
    assert states(models) == {"first": "loaded", "second": "loaded"}

    for model in models.values():
        model.use.at -= 60
    embed(models["second"], "a red rose")
    embed(models["first"], "a red rose", PROBE)
    offloader.offload()

    assert states(models) == {"first": "cold", "second": "loaded"}


def test_the_report_of_a_worker_says_which_models_are_cold(models):
    embed(models["first"], "a red rose")

    report = report_of("cpu", ("control",), models, Throughput())

    assert (report.models, report.cold, report.loading) == (("first", "second"), ("second",), ())
    assert set(report.load_s) == {"first", "second"}
    assert report.last_used["first"] == pytest.approx(time.time(), abs=60)
    assert "second" not in report.last_used


def test_without_the_setting_no_model_can_be_offloaded():
    _, models = load_models(
        Catalogue([ModelEntry(name="first", engine="hashing")], default="first"),
        Settings(device="cpu"),
        observe=lambda _: lambda *_: None,
    )
    assert models["first"].idle is None
    models["first"].batchers[0].close()


def test_a_model_whose_files_are_gone_is_unavailable_and_is_not_tried_for_each():
    tried: list[int] = []

    def gone() -> HashingEncoder:
        tried.append(1)
        raise OSError("no such file")

    encoder = IdleEncoder(HashingEncoder(name="gone"), gone, load_s=0.1)
    encoder.offload()
    for _ in range(3):
        with pytest.raises(Unavailable, match="the model gone cannot be loaded again") as refusal:
            encoder.encode([[1]])
        assert refusal.value.retry_after_s == 10
    assert (len(tried), encoder.state) == (1, "cold")


def test_a_model_that_is_another_one_now_is_refused():
    other = HashingEncoder(name="m", revision="2")
    encoder = IdleEncoder(HashingEncoder(name="m"), lambda: other, load_s=0.1)
    encoder.offload()
    with pytest.raises(Unavailable, match="have changed: restart"):
        encoder.encode([[1]])


def test_a_load_that_fails_neither_shrinks_microbatches_nor_fails_requests_for_good(models):
    model = models["second"]
    budget, again = model.batchers[0].budget_tokens, model.idle._load

    def out_of_memory() -> HashingEncoder:
        raise MemoryError

    model.idle._load = out_of_memory
    ids = model.tokenizer.tokenise(["a red rose", "a dog", "the sea at night"])
    with pytest.raises(Unavailable, match="cannot be loaded again: MemoryError"):
        model.embedder.embed(ids, OURS).result(60)

    assert model.batchers[0].budget_tokens == budget
    model.idle._load, model.idle._failed_at = again, 0.0
    assert len(model.embedder.embed(ids, OURS).result(60)) == 3


def test_loading_is_no_part_of_the_forward_pass(models):
    model = models["second"]
    again, inside, go_on = model.idle._load, threading.Event(), threading.Event()

    def slow() -> HashingEncoder:
        inside.set()
        assert go_on.wait(60)
        return again()

    model.idle._load = slow
    future = model.embedder.embed(model.tokenizer.tokenise(["a red rose"]), OURS)
    assert inside.wait(60)
    time.sleep(0.01)

    assert model.batchers[0].stalled_s() == 0.0
    assert model.idle.loading_s() > 0.0
    go_on.set()
    future.result(60)
    assert model.idle.loading_s() == 0.0


def test_a_gpu_worker_measures_models_that_begin_cold_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
):
    names, passes = ("first", "second", "third"), []
    encoders: list[IdleEncoder] = []

    def measured(encoder: IdleEncoder, memory: object) -> int:
        encoders.append(encoder)
        encoder.encode([[1]])
        passes.append({each.name for each in encoders if each.state == "loaded"})
        return 64

    monkeypatch.setattr(token_budget, "of_texts", measured)
    monkeypatch.setattr(
        model_loader,
        "_load",
        lambda entry, *_: model_loader._Towers(texts=HashingEncoder(name=entry.name)),
    )
    entries = [ModelEntry(name=name, engine="hashing", device="gpu-only") for name in names]
    _, models = load_models(
        Catalogue(entries, default="first"),
        Settings(device="cuda", model_idle_s=60),
        observe=lambda _: lambda *_: None,
    )
    for model in models.values():
        model.batchers[0].close()

    assert passes == [{"first"}, {"first", "second"}, {"first", "third"}]


def test_a_probe_is_answered_without_a_cold_model_and_fails_with_one_that_failed(models):
    idle = models["second"].idle
    limits = Limits()
    classifiers = ClassifierCache(FakeStore(), versions_kept=1)
    viewer = ItemEmbedder(limits=limits, media=FakeMedia())
    handler = ClassifyHandler(models, limits, classifiers, viewer)

    def probe() -> ClassifyResult:
        request = ClassifyRequest(
            model="second",
            items=(Item(text="Is a worker there?"),),
            questions=(Question(labels=("yes", "no")),),
        )
        return handler.begin(request, PROBE).result(timeout_s=60)

    assert (probe().answers, idle.state) == ((), "cold")

    again = idle._load
    idle._load = lambda: HashingEncoder(name="second", revision="2")
    with pytest.raises(Unavailable):
        embed(models["second"], "a red rose")
    report = report_of("cpu", ("control",), models, Throughput())
    assert (report.cold, report.failed) == (("second",), ("second",))
    with pytest.raises(Unavailable, match="cannot be loaded again"):
        probe()

    idle._load, idle._failed_at = again, 0.0  # its next try succeeds
    assert len(probe().answers) == 1
    assert (idle.state, idle.failure) == ("loaded", "")
