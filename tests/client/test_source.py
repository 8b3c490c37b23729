"""The source of the client: one for both clients, apart from the server."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_type_hints

import pigeonhole_client
import pytest
from pigeonhole_client import CallOptions
from pigeonhole_client.cli import cli
from pigeonhole_client.cli.moved import MOVED
from pigeonhole_client.errors import BY_CODE, ApiError, BadRequest

from api.app import OPERATIONS
from api.openapi.document import document
from ops import cli as operators
from shared.statuses import STATUS
from tests.client.service import PROJECT, SOURCE
from tests.stack import ROOT

MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in (SOURCE / "pigeonhole_client").rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py"}
)


def test_the_synchronous_client_is_made_of_the_asynchronous_one() -> None:
    command = [sys.executable, str(PROJECT / "generate_sync.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
    made, source = (SOURCE / "pigeonhole_client" / each for each in ("_sync", "_async"))
    assert {path.name for path in made.glob("*.py")} == {path.name for path in source.glob("*.py")}
    for path in made.glob("*.py"):
        assert not {"async", "await"} & set(path.read_text().split()), path.name


def test_the_client_imports_nothing_of_the_server_and_no_frames(tmp_path: Path) -> None:
    imports = "\n".join(f"import {module}" for module in MODULES)
    script = f"{imports}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )

    tops = {name.partition(".")[0] for name in json.loads(ran.stdout)}
    assert not tops & {"api", "ops", "shared", "workers"}
    assert not tops & {"numpy", "pandas", "polars", "torch"}


def test_each_error_code_of_the_service_has_an_exception_of_its_own_status() -> None:
    for error in STATUS:
        assert error.code in BY_CODE, f"{error.code} has no exception in pigeonhole_client.errors"
    named = {kind for kind in vars(pigeonhole_client.errors).values() if isinstance(kind, type)}
    assert {kind for kind in BY_CODE.values() if kind is not BadRequest} <= named
    assert all(issubclass(kind, ApiError) for kind in BY_CODE.values())


def test_each_option_of_a_classification_can_be_passed() -> None:
    fields = set(document(OPERATIONS)["components"]["schemas"]["ClassifyBody"]["properties"])
    elsewhere = {"input", "labels", "classifier_id", "metadata"}

    options = set(get_type_hints(CallOptions))
    assert options == fields - elsewhere, "see Options in pigeonhole_client/_requests.py"


def test_the_two_commands_know_each_other() -> None:
    """Each says of the other's commands where they are, and none is a command of both."""
    moved = {command.name for command in MOVED}
    ours = {name for name, command in cli.commands.items() if not command.hidden}

    assert ours == operators.CLIENT_COMMANDS
    for name in moved:
        with pytest.raises(SystemExit, match="0"):
            operators.run([str(name), "--help"], {})


def test_no_two_distributions_own_one_script() -> None:
    server, client = (
        set(tomllib.loads((project / "pyproject.toml").read_text())["project"]["scripts"])
        for project in (ROOT, PROJECT)
    )

    assert (server, client) == ({"pigeonhole-server"}, {"pigeonhole"})
