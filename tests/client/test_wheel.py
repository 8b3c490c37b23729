"""The wheel of the client in an empty environment, and beside the server's in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.client.service import PROJECT, url
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MAX_BYTES = 10_000_000
FOREIGN = {"api", "ops", "shared", "workers", "torch", "numpy", "pandas", "polars"}


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """What a program prints; it must end well. Our sources are not on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=clean | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return ended.stdout


def uv(*arguments: str | Path, cwd: Path) -> str:
    return run(Path(sys.executable).with_name("uv"), *arguments, cwd=cwd)


def interpreter(version: str) -> str:
    """The interpreter of a version; where this machine has none, the test is skipped.

    Those of pyenv are looked for where they are: its shims refuse what is not chosen for a folder.
    """
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "python", "find", "--system", "--no-python-downloads", version]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [*sorted(map(str, root.glob(f"versions/{version}.*/bin"))), os.environ["PATH"]]
    env = {**os.environ, "PATH": os.pathsep.join(places)}
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"there is no Python {version} on this machine")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution as an index would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--out-dir", folder, PROJECT, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def server_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    uv("build", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


def environment(folder: Path, python: str, *packages: str | Path) -> Path:
    """The interpreter of a new environment with these packages and nothing else."""
    uv("venv", "--python", python, folder / "venv", cwd=folder)
    made = folder / "venv" / "bin" / "python"
    pins = ROOT / "ops" / "constraints.txt"
    uv("pip", "install", "--python", made, "-c", pins, *packages, cwd=folder)
    return made


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_it_works_in_an_empty_environment_of_less_than_ten_megabytes(
    version: str, wheel: Path, stack: Stack, tmp_path: Path
) -> None:
    made = environment(tmp_path, interpreter(version), wheel)
    packages = next((tmp_path / "venv" / "lib").glob("python3*")) / "site-packages"
    sizes = {path: path.stat().st_size for path in packages.rglob("*") if path.is_file()}
    where = {"PIGEONHOLE_URL": url(stack), "PIGEONHOLE_API_KEY": stack.key}
    (tmp_path / "rows.csv").write_text("text\na red rose\na green leaf\n")
    command = made.with_name("pigeonhole")

    assert sum(sizes.values()) < MAX_BYTES
    assert not FOREIGN & {path.name for path in packages.iterdir()}
    assert (packages / "pigeonhole_client" / "py.typed").exists()
    told = run(command, "tag", "rows.csv", "--labels", "red,green", cwd=tmp_path, **where)
    assert told.startswith("2 of 2 rows tagged, 0 failed")
    assert run(command, "--version", cwd=tmp_path).startswith("pigeonhole, version 0.")


def test_the_source_distribution_has_only_the_client(wheel: Path) -> None:
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {Path(name).parts[1] for name in archive.getnames()}

    assert names <= {
        "src", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO", "generate_sync.py",
        ".gitignore",
    }  # fmt: skip


def test_both_distributions_live_in_one_environment(
    wheel: Path, server_wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(server_wheel) as archive:
        assert not [name for name in archive.namelist() if "client/" in name]
    made = environment(tmp_path, sys.executable, wheel)
    uv("pip", "install", "--python", made, "--no-deps", server_wheel, cwd=tmp_path)
    client, server = (made.with_name(name) for name in ("pigeonhole", "pigeonhole-server"))

    assert client.exists()
    assert server.exists()
    uv("pip", "uninstall", "--python", made, "pigeonhole-server", cwd=tmp_path)
    assert not server.exists()
    assert "Classify texts" in run(client, "--help", cwd=tmp_path)


def test_frames_of_pandas_and_polars_go_in_and_come_out(
    wheel: Path, stack: Stack, tmp_path: Path
) -> None:
    made = environment(tmp_path, sys.executable, wheel, "pandas>=2.2", "polars>=1")
    program = shutil.copy(Path(__file__).with_name("frames_program.py"), tmp_path)

    run(
        made, "-W", "error", program,
        cwd=tmp_path, PIGEONHOLE_URL=url(stack), PIGEONHOLE_API_KEY=stack.key,
    )  # fmt: skip
