from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import HOST
from tests.stack import Stack, running_stack

collect_ignore_glob = ["use_*.py"]  # they import clients that are made first


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole service on the tiny model."""
    with running_stack(tmp_path_factory.mktemp("stack"), ready_s=180) as running:
        yield running


@pytest.fixture
def document(stack: Stack, tmp_path: Path) -> Path:
    """The OpenAPI document, as the service gives it."""
    file = tmp_path / "openapi.json"
    file.write_bytes(stack.call("GET", "/openapi.json").body)
    return file


@pytest.fixture
def env(stack: Stack) -> dict[str, str]:
    """The environment of a program that calls the service."""
    return {**os.environ, "URL": f"http://{HOST}:{stack.port}", "KEY": stack.key}
