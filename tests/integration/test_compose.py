"""Every command of docker-compose.yml runs as it stands there, against real servers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest

from tests.ops.compose import ROOT, SECRETS, Service, local_environment, services
from tests.servers import HOST, free_port, moto_server, running, stop, valkey_command

pytestmark = [pytest.mark.integration, pytest.mark.slow]
STARTED = ("api", "worker-cpu", "keeper")


@contextmanager
def redis_of_compose(folder: Path) -> Iterator[int]:
    """The Redis-compatible server with the password that the file configures."""
    port = free_port()
    command = [*valkey_command(port, folder), "--requirepass", SECRETS["REDIS_PASSWORD"]]
    with running(command, port=port):
        yield port


@contextmanager
def process(service: Service, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    assert service.command[0] == "python"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, *service.command[1:]],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        assert started.poll() is None, f"{service.name} ended:\n{log.read_text()[-2000:]}"
    finally:
        stop(started, grace_s=30)


def get(port: int, path: str, **headers: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.timeout(200)
def test_every_service_starts_with_its_command_and_environment_and_they_work_together(
    tmp_path: Path,
):
    found = services()
    with ExitStack() as up:
        redis_port = up.enter_context(redis_of_compose(tmp_path))
        objects = up.enter_context(moto_server())
        port = free_port()
        moved = {"redis:6379": f"{HOST}:{redis_port}", "objects:8333": f"{HOST}:{objects.port}"}
        moved |= {"0.0.0.0": HOST, "8080": str(port)}
        environments = {name: local_environment(found[name], moved) for name in found}
        assert {name for name in found if "build" in found[name].raw} == {*STARTED, "worker-gpu"}
        boto3.client(
            "s3",
            endpoint_url=objects.url,
            region_name="us-east-1",
            aws_access_key_id=SECRETS["S3_ACCESS_KEY"],
            aws_secret_access_key=SECRETS["S3_SECRET_KEY"],
        ).create_bucket(Bucket="pigeonhole")
        for name in STARTED:
            log = tmp_path / f"{name}.log"
            up.enter_context(process(found[name], environments[name], log))

        until = time.monotonic() + 120
        while True:
            try:
                status, ready = get(port, "/health/ready")
            except OSError:
                status, ready = 0, {}
            if status == 200:
                break
            assert time.monotonic() < until, ready
            time.sleep(0.5)
        made = subprocess.run(
            [sys.executable, "-m", "ops.cli", "keys", "create", "--name", "me", "--json"],
            cwd=ROOT,
            env=environments["api"],
            capture_output=True,
            check=True,
        )
        key = json.loads(made.stdout)["secret"]
        request = urllib.request.Request(
            f"http://{HOST}:{port}/v1/classify",
            data=json.dumps(
                {"input": "My parcel never arrived.", "labels": ["complaint", "praise"]}
            ).encode(),
            headers={"Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["data"][0]["prediction"] == "complaint"


@pytest.mark.timeout(120)
def test_the_gpu_worker_says_what_it_misses_where_there_is_no_gpu(tmp_path: Path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    worker = services()["worker-gpu"]
    with redis_of_compose(tmp_path) as redis_port:
        environment = local_environment(worker, {"redis:6379": f"{HOST}:{redis_port}"})
        environment["PIGEONHOLE_OBJECT_STORE"] = (tmp_path / "objects").as_uri()

        ended = subprocess.run(
            [sys.executable, *worker.command[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("pigeonhole: PIGEONHOLE_DEVICE is cuda, but")
