"""Models that are made once and kept between runs, in pytest's cache; how examples are drawn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests import tiny_clip

# A bound on the time of one example measures the load of the machine: 200 ms, the default of
# hypothesis, became 265 on two cores that others worked on too.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


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


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: a test that waits leaves its core to others."""
    return (os.cpu_count() or 2) * 3 // 2
