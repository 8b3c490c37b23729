"""More rounds may take longer."""

from __future__ import annotations

import pytest

from tests.chaos.rounds import ROUNDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        own = item.get_closest_marker("timeout")
        if ROUNDS > 1 and item.get_closest_marker("chaos"):
            limit_s = own.args[0] if own else 300
            item.add_marker(pytest.mark.timeout(limit_s * ROUNDS), append=False)
