"""Clients that need Node or Java, most of them generated, made and used: `make clients`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.programs import HERE, run

pytestmark = [pytest.mark.integration, pytest.mark.clients]

OPENAPI_GENERATOR = "7.26.0"
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `package.json` names; programs in it find its packages."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(HERE / "package.json", folder)
    run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", folder=folder)
    return folder


def generated(document: Path, generator: str, folder: Path) -> None:
    """A client of openapi-generator, which a Python package carries."""
    run(
        *(UV, "tool", "run", "--from", f"openapi-generator-cli=={OPENAPI_GENERATOR}"),
        *("openapi-generator-cli", "generate", "-i", document, "-g", generator, "-o", folder),
        folder=document.parent,
    )


def compiled(node: Path, program: str) -> Path:
    """A TypeScript program beside what it uses, with strict types, as JavaScript."""
    shutil.copy(HERE / program, node)
    run(
        *("node_modules/.bin/tsc", "--strict", "--target", "es2022", "--module", "commonjs"),
        *("--moduleResolution", "node10", "--lib", "es2022,dom", "--types", "node", program),
        folder=node,
    )
    return node / Path(program).with_suffix(".js")


def test_redocly_finds_nothing(document: Path, node: Path):
    report = run("node_modules/.bin/redocly", "lint", document, folder=node)

    assert "Your API description is valid" in report
    assert "You have" not in report, report  # … warnings


def test_python_of_openapi_generator(document: Path, env: dict[str, str], tmp_path: Path):
    generated(document, "python", tmp_path / "client")
    needed = tmp_path / "client" / "requirements.txt"
    run(UV, "venv", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--python", python, "-r", needed, folder=tmp_path)

    run(
        *(python, HERE / "use_openapi_generator.py"),
        folder=tmp_path,
        env={**env, "PYTHONPATH": str(tmp_path / "client")},
    )


def test_typescript_fetch_of_openapi_generator(document: Path, env: dict[str, str], node: Path):
    generated(document, "typescript-fetch", node / "client")

    run("node", compiled(node, "use_typescript_fetch.ts"), folder=node, env=env)


def test_openapi_typescript(document: Path, env: dict[str, str], node: Path):
    run("node_modules/.bin/openapi-typescript", document, "-o", "types.d.ts", folder=node)

    run("node", compiled(node, "use_openapi_typescript.ts"), folder=node, env=env)


def test_openai_sdk_for_javascript(env: dict[str, str], node: Path):
    run("node", compiled(node, "use_openai_sdk.ts"), folder=node, env=env)
