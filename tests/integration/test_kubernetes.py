"""Every container of ops/kubernetes runs with its command, its settings and its probes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.model_hub import running_hub
from tests.ops.kustomize import Manifest, build
from tests.ops.test_kubernetes import container, environment
from tests.servers import HOST, free_port, running, valkey_command
from tests.stack import TINY

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FOLDER = "overlays/single-node"
PYTHON = Path(sys.executable).parent
# The image of Redis has this program; the tests have only the server.
CLI = f"""#!{sys.executable}
import socket
connection = socket.create_connection(("{HOST}", {{port}}), timeout=2)
connection.sendall(b"PING\\r\\n")
print(connection.recv(100).decode())
"""


@pytest.fixture
def moved(tmp_path: Path) -> dict[str, str]:
    """What stands elsewhere here than in the cluster; the programs of Redis are in `bin`."""
    redis, programs = free_port(), tmp_path / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(valkey_command(redis, tmp_path)[0])
    cli = programs / "valkey-cli"
    cli.write_text(CLI.format(port=redis))
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    for name in ("data", "etc", "objects", "models"):
        (tmp_path / name).mkdir()
    return {
        "redis:6379": f"{HOST}:{redis}",
        "6379": str(redis),
        "8080": str(free_port()),
        "0.0.0.0": HOST,
        "file:///objects": (tmp_path / "objects").as_uri(),
        "/etc/valkey": str(tmp_path / "etc"),
        "/data": str(tmp_path / "data"),
        "/models": str(tmp_path / "models"),
    }


def here(text: str, moved: dict[str, str]) -> str:
    for there, place in moved.items():
        text = text.replace(there, place)
    return text


def probe(path: str, port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def await_probes(manifest: Manifest, port: int) -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        path, until = container(manifest)[name]["httpGet"]["path"], time.monotonic() + 60
        while (status := probe(path, port)) != 200:
            assert time.monotonic() < until, f"{manifest['metadata']['name']} {name}: {status}"
            time.sleep(0.1)


@pytest.mark.timeout(200)
def test_every_container_starts_passes_its_probes_and_they_work_together(
    tmp_path: Path, moved: dict[str, str]
):
    manifests = build(FOLDER)
    found = {
        each["metadata"]["name"]: each
        for each in manifests
        if each["kind"] in {"Deployment", "StatefulSet"}
    }
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(TINY)
    tiny = {
        "PIGEONHOLE_CATALOGUE": str(catalogue),
        "PIGEONHOLE_DEFAULT_MODEL": "tiny",
        "PIGEONHOLE_MODELS": "tiny",
        "PATH": f"{tmp_path / 'bin'}:{PYTHON}:{os.environ['PATH']}",
    }
    (configuration,) = [
        each["data"]
        for each in manifests
        if each["kind"] == "ConfigMap" and "redis.conf" in each["data"]
    ]
    redis_port = int(moved["6379"])
    (tmp_path / "etc" / "redis.conf").write_text(
        here(configuration["redis.conf"], moved) + f"port {redis_port}\nbind {HOST}\n"
    )

    with ExitStack() as up:
        ports = {"redis": redis_port, "api": int(moved["8080"])}
        environments = {}
        for name in ("redis", "api", "keeper", "worker-cpu"):
            port = ports.setdefault(name, free_port())
            places = {**moved, "9464": str(port)}
            variables = environment(found[name], manifests)
            environments[name] = {k: here(v, places) for k, v in variables.items()} | tiny
            command = [here(word, places) for word in container(found[name])["command"]]
            up.enter_context(running(command, port=port, env=environments[name], deadline_s=60))
            if name == "redis":
                check = container(found[name])["readinessProbe"]["exec"]["command"]
                subprocess.run(check, env=environments[name], check=True, timeout=10)
            else:
                await_probes(found[name], port)

        made = subprocess.run(
            [sys.executable, "-m", "ops.cli", "keys", "create", "--name", "me", "--json"],
            env={**os.environ, **environments["api"]},
            capture_output=True,
            check=True,
        )
        request = urllib.request.Request(
            f"http://{HOST}:{ports['api']}/v1/classify",
            data=json.dumps({"input": "a red rose", "labels": ["red", "green"]}).encode(),
            headers={"Authorization": f"Bearer {json.loads(made.stdout)['secret']}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["data"][0]["prediction"] == "red"


def test_the_job_pulls_its_models(tmp_path: Path):
    (job,) = [each for each in build("pull-models") if each["kind"] == "Job"]
    repository = tmp_path / "bge-m3"
    repository.mkdir()
    (repository / "config.json").write_text("{}")
    (repository / "model.safetensors").write_bytes(b"weights")

    with running_hub({"BAAI/bge-m3": repository}) as hub:
        places = {"/models": str(tmp_path / "models")}
        variables = {k: here(v, places) for k, v in environment(job, []).items()}
        program, *words = container(job)["command"]
        subprocess.run(
            [PYTHON / program, *words],
            env={**os.environ, **variables, "HF_ENDPOINT": hub.url},
            check=True,
            timeout=100,
        )

    assert "model.safetensors" in hub.fetched
    assert list((tmp_path / "models").rglob("model.safetensors"))
