from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared import tiers
from shared.errors import ConfigurationError
from shared.tiers import Rate

WriteFile = Callable[[str], str]


@pytest.fixture
def file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> str:
        path = tmp_path / "tiers.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_tiers_that_ship_are_those_of_the_vendor() -> None:
    shipped = tiers.load()

    free, premium = shipped.find("free"), shipped.find("premium")
    assert shipped.per == "account"
    assert free.rate("zero_shot") == Rate(requests=200, tokens=500_000)
    assert free.rate("few_shot") == Rate(requests=20, tokens=200_000)
    assert premium.rate("zero_shot") == Rate(requests=1_000, tokens=3_000_000)
    assert premium.rate("few_shot") == Rate(requests=60, tokens=1_000_000)
    assert (free.concurrent_calls, premium.concurrent_calls) == (5, 50)
    assert (free.batch_rows, premium.batch_rows) == (100_000, 10_000_000)
    assert (free.classifiers, premium.classifiers) == (16, 1_000)
    assert (free.free_tokens, premium.free_tokens) == (1_000_000, None)
    assert (free.cache_s, premium.cache_s) == (300, 86_400)


def test_the_default_tier_has_no_limits() -> None:
    default = tiers.load().find("")

    assert default.name == "unlimited"
    assert default.rate("zero_shot") == default.rate("few_shot") == Rate()
    assert default.concurrent_calls is default.batch_rows is default.free_tokens is None
    assert default.cache_s is None


def test_a_file_replaces_the_tiers_that_ship(file: WriteFile) -> None:
    own = tiers.load(file('default = "small"\n[tiers.small]\nzero_shot = { requests = 3 }\n'))

    assert list(own.tiers) == ["small"]
    assert own.of("premium").name == "small"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = ", "is not TOML"),
        ('default = "small"\n[tiers.other]\n', "the default tier 'small' is not in the file"),
        ('default = "a"\n[tiers.a]\nrpm = 3\n', "tiers.a.rpm: unknown field"),
        ('default = "a"\n[tiers.a]\nclassifiers = 0\n', "tiers.a.classifiers"),
        ('default = "a"\nper = "ip"\n[tiers.a]\n', "per: must be 'account' or 'key'"),
        ('default = "A B"\n[tiers."A B"]\n', r"tiers.A B.name"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(file: WriteFile, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tiers.load(file(text))


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read"):
        tiers.load("nowhere.toml")


def test_an_unknown_tier_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="no tier 'premum'; did you mean 'premium'"):
        tiers.load().find("premum")
