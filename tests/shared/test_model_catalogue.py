from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError, ModelNotFound
from shared.messages import model_of, queues_of
from shared.model_catalogue import ModelEntry, load

DEFAULT = "all-MiniLM-L6-v2"
TINY = '[[model]]\nname = "tiny"\nengine = "hashing"\naliases = ["small"]\n'


@pytest.fixture
def extra(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "catalogue.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_built_in_models_answer_to_the_names_clients_send():
    catalogue = load(default=DEFAULT)

    for name in ("jina-embeddings-v3", "jina-embeddings-v5-text-small", DEFAULT):
        assert catalogue.find(name).name == DEFAULT


def test_a_file_adds_models_and_replaces_those_of_the_same_name(extra):
    path = extra(f'{TINY}\n[[model]]\nname = "{DEFAULT}"\nengine = "hashing"\n')

    catalogue = load(path, default="small")

    assert catalogue.default.name == "tiny"
    assert catalogue.find(DEFAULT).engine == "hashing"


def test_images_go_to_the_first_that_reads_them_and_the_files_own_come_first(extra):
    path = extra('[[model]]\nname = "ours"\nengine = "open_clip"\n')

    assert load(default=DEFAULT).for_images().name == "ViT-B-32@laion2b_s34b_b79k"
    assert load(default=DEFAULT).find("jina-clip-v2").name == "ViT-B-32@laion2b_s34b_b79k"
    assert load(path, default=DEFAULT).for_images().name == "ours"
    assert load(path, default="ViT-L-14").for_images().name == "ViT-L-14@datacomp_xl_s13b_b90k"


def test_a_file_takes_aliases_over(extra):
    path = extra('[[model]]\nname = "ours"\nengine = "open_clip"\naliases = ["jina-clip-v2"]\n')

    catalogue = load(path, default=DEFAULT)

    assert catalogue.find("jina-clip-v2").name == "ours"
    assert catalogue.find("jina-clip-v1").name == "ViT-B-32@laion2b_s34b_b79k"


def test_every_built_in_model_has_names_of_its_own_that_fit_a_queue():
    entries = load(default=DEFAULT).entries.values()

    names = [name for entry in entries for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in entries:
        for queue in queues_of("gpu", [entry.name])[:-1]:
            assert model_of(queue) == entry.name
            assert "," not in queue  # which parts them on Celery's command line


@pytest.mark.parametrize(
    ("device", "devices"),
    [("cpu", ("cpu",)), ("gpu-preferred", ("gpu", "cpu")), ("gpu-only", ("gpu",))],
)
def test_a_model_runs_on_the_devices_that_its_entry_allows(device: str, devices: tuple[str, ...]):
    entry = ModelEntry.model_validate({"name": "x", "engine": "hashing", "device": device})

    assert entry.devices == devices


def test_an_unknown_model_names_the_nearest_and_all_the_known(extra):
    catalogue = load(extra(TINY), default="tiny")

    with pytest.raises(ModelNotFound, match=r"did you mean tiny\?.*all-MiniLM-L6-v2") as caught:
        catalogue.find("tinny")

    assert caught.value.fields[0].field == "model"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[model", "is not TOML"),
        ('[[model]]\nname = "x"\nengine = "magic"', "engine"),
        ('[[model]]\nname = "x"\nengine = "hashing"\ntemprature = 1', "temprature"),
        ('[[model]]\nengine = "hashing"', "name"),
        ('[[model]]\nname = "a,b"\nengine = "hashing"', "name"),
    ],
)
def test_a_wrong_file_says_where(extra, text: str, sentence: str):
    with pytest.raises(ConfigurationError, match=sentence):
        load(extra(text), default=DEFAULT)


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(str(tmp_path / "none.toml"), default=DEFAULT)


def test_a_default_that_is_not_on_offer_stops_the_start():
    with pytest.raises(ConfigurationError, match="not in the catalogue"):
        load(default="nothing")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("picture_templates", "picture_templates: has a new name: write image_templates"),
        ("template", "template: is not a key of a model; the keys are name, "),
    ],
)
def test_a_key_that_is_not_known_is_refused_with_those_that_are(extra, key: str, problem: str):
    path = extra(f'{TINY}{key} = ["{{label}}"]\n')

    with pytest.raises(ConfigurationError, match=problem):
        load(path, default=DEFAULT)
