from __future__ import annotations

from pathlib import Path

import pytest

from shared.catalogue import load
from shared.errors import ConfigurationError, ModelNotFound

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
