from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole service on the tiny model, for tests that leave it standing."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
