from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pigeonhole_client import Pigeonhole

from tests.client.service import SOURCE, url
from tests.stack import ROOT, Stack, running_stack

collect_ignore = ["frames_program.py"]  # a program for an environment that has pandas


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole service on the tiny model, for tests that leave it standing."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Pigeonhole]:
    """A client of the service."""
    with Pigeonhole(url(stack), stack.key) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_login(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an address of the caller's environment nor the login file of this user is read."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    for variable in ("PIGEONHOLE_URL", "PIGEONHOLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (SOURCE, ROOT))))
