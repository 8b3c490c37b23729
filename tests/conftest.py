"""Models that are made once and kept between runs, in pytest's cache; how examples are drawn."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from shared.adapters.redis.client import connect
from tests import tiny_clip
from tests.prefixed_ledger import PrefixedLedger
from tests.servers import shared_redis_url, stop_shared

# The same examples in each run, so that a rare one that fails refuses no change but its cause;
# `--hypothesis-profile=search` draws others. A bound on the time of one example would measure the
# load of the machine: 200 ms, the default of hypothesis, became 265 on two busy cores.
settings.register_profile("search", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

os.environ.pop("AWS_PROFILE", None)  # of the caller: boto3 refuses one that is not configured

_ALONE = ("tests/chaos/", "tests/api/test_liveness.py")


@pytest.fixture(scope="session")
def trained_clip(request: pytest.FixtureRequest) -> Path:
    """The folder of a small CLIP model that knows `tiny_clip.LABELS`; made in a minute, once."""
    return tiny_clip.trained(request.config.cache.mkdir("clip"))


@pytest.fixture(scope="session")
def untrained_clip(request: pytest.FixtureRequest) -> Path:
    """The folder of a tiny CLIP model of random weights; made in a second, once."""
    return tiny_clip.untrained(request.config.cache.mkdir("clip"))


@pytest.fixture(scope="session")
def sentence_clip(request: pytest.FixtureRequest) -> Path:
    """The folder of a tiny CLIP model of sentence-transformers, of random weights."""
    return tiny_clip.sentence(request.config.cache.mkdir("clip"))


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A real Redis-compatible server."""
    return shared_redis_url()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty database."""
    client = connect(redis_url, timeout_s=5)
    client.flushdb()
    yield client
    client.close()


def pytest_unconfigure() -> None:
    """End the server of this process."""
    stop_shared()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out slow cases that take 2 s to be collected, where none is to run."""
    slow = collection_path.name == "test_openapi_promises.py"
    return True if slow and "not slow" in config.option.markexpr else None


@pytest.fixture
def ledger() -> PrefixedLedger:
    """An empty ledger."""
    return PrefixedLedger()


@pytest.fixture
def exporter() -> Iterator[Any]:
    """The spans of a test, in memory."""
    from tests.spans import exporting  # only tests of traces need OpenTelemetry

    with exporting() as spans:
        yield spans


class _ByFile(LoadScopeScheduling):
    """A file's tests share a service or a model: one process has them all (`--dist loadfile`).

    Those that kill have a service each, and go where there is room.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ALONE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile | None:
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Take the modules and the tests from the garbage collector, which would visit them again and
    again: 800,000 objects, half a second each time."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: a test that waits leaves its core to others."""
    return (os.cpu_count() or 2) * 3 // 2


@pytest.fixture(scope="session")
def tiny_nli() -> Any:
    """The module that trains a tiny NLI model, which imports torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, when they are imported
        from tests import tiny_nli

        return tiny_nli


@pytest.fixture(scope="session")
def nli_checkpoint(tiny_nli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained NLI model, as those of the catalogue are."""
    folder: Path = tmp_path_factory.mktemp("nli")
    tiny_nli.train(folder)
    return folder
