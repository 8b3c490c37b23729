"""A client made by openapi-python-client, from the document alone, and used against a service."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients.programs import HERE, run

pytestmark = pytest.mark.integration


def test_its_client_is_made_and_used_without_patches(
    document: Path, env: dict[str, str], tmp_path: Path
):
    config = tmp_path / "config.json"
    config.write_text('{"post_hooks": []}')  # it would format what it made
    made = run(
        *(sys.executable, "-m", "openapi_python_client", "generate", "--path", document),
        *("--config", config, "--output-path", tmp_path / "client"),
        folder=tmp_path,
    )
    assert "rror" not in made

    run(
        *(sys.executable, HERE / "use_openapi_python_client.py"),
        folder=tmp_path,
        env={**env, "PYTHONPATH": str(tmp_path / "client")},
    )
