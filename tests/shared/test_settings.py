from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.settings import PREFIX, RENAMED, Settings, table


def test_every_setting_has_a_default():
    assert Settings.from_env({}) == Settings()


def test_values_are_read_by_their_type():
    settings = Settings.from_env(
        {
            "PIGEONHOLE_PORT": "9000",
            "PIGEONHOLE_ALLOW_DOWNLOADS": "yes",
            "PIGEONHOLE_DATA_DIR": "/srv/ph",
            "PIGEONHOLE_LEASE_S": "2.5",
            "PATH": "/bin",
        }
    )

    assert (settings.port, settings.allow_downloads, settings.lease_s) == (9000, True, 2.5)
    assert settings.store_url == "file:///srv/ph/objects"
    assert settings.data_dir == Path("/srv/ph")


def test_the_variables_of_the_client_are_passed_over():
    env = {"PIGEONHOLE_URL": "http://127.0.0.1:8080", "PIGEONHOLE_API_KEY": "ph_x"}

    assert Settings.from_env(env) == Settings()


def test_an_unknown_variable_is_refused_with_the_nearest_known_one():
    with pytest.raises(ConfigurationError, match="did you mean PIGEONHOLE_REDIS_URL"):
        Settings.from_env({"PIGEONHOLE_REDIS_URI": "redis://x"})


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PIGEONHOLE_PORT", "http", "must be of type int"),
        ("PIGEONHOLE_PORT", "0", "at least 1"),
        ("PIGEONHOLE_DEVICE", "tpu", "must be one of auto, cpu, cuda"),
        ("PIGEONHOLE_ALLOW_DOWNLOADS", "maybe", "true or false"),
        ("PIGEONHOLE_LEASE_S", "nan", "at least"),
        ("PIGEONHOLE_LEASE_S", "inf", "finite"),
        ("PIGEONHOLE_BATCH_TOKENS", "9", "has a new name: set PIGEONHOLE_MICROBATCH_TOKENS"),
        ("PIGEONHOLE_RESULT_RETENTION_S", "1e12", "at most 3155760000 seconds"),
        ("PIGEONHOLE_FETCH_NETWORKS", "10.0.0.1/8", "host bits"),
        ("PIGEONHOLE_FETCH_PORTS", "http", "must be a list of ports"),
        ("PIGEONHOLE_TRUSTED_PROXIES", "proxy.internal", "does not appear to be"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "app.example.org", "is not an origin"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "https://app.example.org/", "is not an origin"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "https://app.example.org:443", "is not an origin"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "https://App.example.org", "is not an origin"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "https://*.example.org", "is not an origin"),
        ("PIGEONHOLE_ALLOWED_ORIGINS", "null", "is not an origin"),
        ("PIGEONHOLE_PATH_PREFIX", "classify", "must begin with /"),
        ("PIGEONHOLE_PATH_PREFIX", "//example.org", "must begin with /"),
        ("PIGEONHOLE_PATH_PREFIX", "/classify/", "not end with it"),
        ("PIGEONHOLE_PATH_PREFIX", "/v1", "a path of the API itself"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_it_must_be(variable, value, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        Settings.from_env({variable: value})

    assert variable in caught.value.detail


def test_the_table_lists_every_setting():
    rows = table().splitlines()[2:]

    assert [row.split("`")[1] for row in rows] == [
        f"PIGEONHOLE_{field.name.upper()}" for field in fields(Settings)
    ]


def test_every_setting_that_was_renamed_names_one_that_there_is():
    assert {PREFIX + new for new in RENAMED.values()} <= settings_of(table())
    assert not {PREFIX + old for old in RENAMED} & settings_of(table())


def settings_of(rows: str) -> set[str]:
    return set(re.findall(r"`(PIGEONHOLE_\w+)` \|", rows))
