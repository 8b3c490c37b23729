"""Which models a worker holds, of what is in the catalogue and what is on its machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from workers import model_loader
from workers.embedding.loaded_model import LoadedModel
from workers.model_loader import load_models


def entry(name: str, **changes: object) -> ModelEntry:
    return ModelEntry.model_validate({"name": name, "engine": "hashing", **changes})


@pytest.fixture
def load() -> Iterator:
    """Loads entries; the first is the default."""
    loaded: list[LoadedModel] = []

    def load(*entries: ModelEntry, **settings: object) -> tuple[str, dict[str, LoadedModel]]:
        catalogue = Catalogue(entries, default=entries[0].name)
        chosen = Settings(**{"device": "cpu", **settings})
        device, models = load_models(catalogue, chosen, observe=lambda _: lambda *_: None)
        loaded.extend(models.values())
        return device, models

    yield load
    for model in loaded:
        for batcher in model.batchers:
            batcher.close()


AWAY = {"engine": "sentence", "checkpoint": "acme/nowhere"}


@pytest.mark.parametrize(
    ("device", "queues", "held"),
    [("cpu", "cpu", {"any", "cpu"}), ("cuda", "gpu", {"any", "gpu"})],
)
def test_a_worker_holds_the_models_of_its_device(load, device: str, queues: str, held: set[str]):
    named, models = load(
        entry("any", device="gpu-preferred"),
        entry("cpu", device="cpu"),
        entry("gpu", device="gpu-only"),
        device=device,
    )

    assert (named, set(models)) == (queues, held)


def test_what_is_not_on_this_machine_is_left_alone(load):
    _, models = load(entry("tiny"), entry("away", **AWAY))

    assert set(models) == {"tiny"}


@pytest.mark.slow
def test_what_is_here_and_broken_is_left_out_and_the_log_says_why(
    load, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "model.safetensors").write_bytes(b"?")

    _, models = load(entry("tiny"), entry("broken", engine="sentence", checkpoint=str(tmp_path)))

    assert set(models) == {"tiny"}
    assert "model.left_out" in caplog.text


@pytest.mark.parametrize("names", ["tiny,away", "away"])
def test_what_the_operator_named_must_be_here(load, names: str):
    with pytest.raises(ConfigurationError, match="away"):
        load(entry("tiny"), entry("away", **AWAY), models=names)


def test_so_must_the_default_model(load):
    with pytest.raises(ConfigurationError, match="away"):
        load(entry("away", **AWAY), entry("tiny"))


def test_names_may_be_aliases_in_any_order_and_of_other_devices_too(load):
    _, models = load(
        entry("a"), entry("b", aliases=("bee",)), entry("gpu", device="gpu-only"),
        models="gpu, bee,b",
    )  # fmt: skip

    assert list(models) == ["b"]


def test_a_worker_without_a_model_says_which_it_could_hold(load):
    with pytest.raises(ConfigurationError, match=r"no model can run on a gpu worker.* of: any"):
        load(entry("cpu"), entry("any", device="gpu-preferred"), models="cpu", device="cuda")


@pytest.mark.parametrize(
    ("kind", "device", "said"),
    [
        (
            "gpu-only",
            "cpu",
            "no GPU is available, or PIGEONHOLE_DEVICE is cpu; these models need one: big",
        ),
        (
            "cpu",
            "cuda",
            "this worker uses a GPU; these models need a CPU worker (PIGEONHOLE_DEVICE=cpu): big",
        ),
    ],
)
def test_where_there_is_no_other_it_says_what_the_model_needs(
    load, kind: str, device: str, said: str
):
    with pytest.raises(ConfigurationError) as caught:
        load(entry("big", device=kind), device=device)

    assert caught.value.detail == said


def test_on_a_cpu_a_forward_pass_has_the_measured_number_of_tokens(load):
    _, models = load(entry("tiny"))

    assert models["tiny"].embedder.batcher.budget_tokens == model_loader.CPU_TOKENS


def test_the_operator_decides_how_many_tokens_a_forward_pass_has(load):
    _, models = load(entry("tiny"), microbatch_tokens=300)

    assert models["tiny"].embedder.batcher.budget_tokens == 300
