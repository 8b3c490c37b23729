"""`python -m ops.launcher`: a real service on a tiny model, or a clear refusal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from ops.data_directory import held
from tests.ops.test_supervisor import Launcher, wait_for
from tests.servers import HOST, free_port
from tests.stack import TINY

COMMAND = [sys.executable, "-m", "ops.launcher"]


def environment(directory: Path, **settings: object) -> dict[str, str]:
    catalogue = directory / "catalogue.toml"
    catalogue.write_text(TINY)
    chosen = {
        "catalogue": catalogue,
        "data_dir": directory / "data",
        "default_model": "tiny",
        "device": "cpu",
        "models": "tiny",
        "port": free_port(),
        **settings,
    }
    ours = {f"PIGEONHOLE_{name.upper()}": str(value) for name, value in chosen.items()}
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PIGEONHOLE_")}, **ours}


def refusal(env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        COMMAND, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@contextmanager
def service(env: dict[str, str]) -> Iterator[Launcher]:
    with subprocess.Popen(
        COMMAND,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        running = Launcher(process)
        try:
            yield running
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)


class TestRefusals:
    def test_a_data_directory_in_use_names_who_uses_it(self, tmp_path: Path) -> None:
        with held(tmp_path / "data", patience_s=1):
            code, told = refusal(environment(tmp_path))

        assert code == 1
        assert re.fullmatch(
            rf"pigeonhole: the data directory \S+/data is in use by process {os.getpid()}; .*\n",
            told,
        )

    def test_a_port_that_is_taken(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            code, told = refusal(environment(tmp_path, port=port))

        assert code == 1
        assert told.startswith(f"pigeonhole: port {port} of 127.0.0.1 is taken; stop the program")

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("prot", "1", "PIGEONHOLE_PROT is not a setting; did you mean PIGEONHOLE_PORT?"),
            ("port", "70000", "cannot listen on port 70000 of 127.0.0.1: "),
            ("host", "192.0.2.1", "cannot listen on port 8080 of 192.0.2.1: "),
            (
                "redis_url",
                "localhost",
                "PIGEONHOLE_REDIS_URL must begin with redis://, ",
            ),
            ("object_store", "objects", "The object store's URL must be file:///absolute/path"),
        ],
    )
    def test_a_wrong_setting(self, tmp_path: Path, name: str, value: str, told: str) -> None:
        settings = {"port": 8080} if name == "host" else {}
        code, said = refusal(environment(tmp_path, **settings, **{name: value}))

        assert code == 2
        assert said.startswith(f"pigeonhole: {told}")
        assert said.count("\n") == 1


@pytest.mark.integration
def test_the_service_comes_up_serves_survives_a_death_and_stops(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with service(env) as running:
        address = running.read_until(r"Pigeonhole is ready: (http://\S+)")[1]
        key = running.read_until(r"Your key: (\S+)")[1]
        assert (tmp_path / "data" / "key").read_text().strip() == key
        paste = running.read_until(r"^curl .*")[0] + running.read_until(r"  -H 'Content-Type.*")[0]
        paste = paste.replace("\\", "")

        assert '"prediction"' in subprocess.check_output(["bash", "-c", paste], text=True)
        assert refusal(env)[1].endswith("to another\n")

        by_module = {child.cmdline()[-1]: child for child in running.children()}
        by_module["workers.main"].kill()
        running.read_until(r"worker died \(killed by SIGKILL\)")
        running.read_until(r"worker .* worker.ready")
        wait_for(
            lambda: '"prediction"' in subprocess.check_output(["bash", "-c", paste], text=True)
        )

        children = running.children()
        running.process.terminate()
        for name in ("api", "worker", "keeper", "redis"):
            running.read_until(rf"{name} has stopped \(exit code 0\)")
        assert running.process.wait(60) == 0
        assert not psutil.wait_procs(children, timeout=60)[1]
        with pytest.raises(OSError, match="refused"):
            urlopen(address)


@pytest.mark.integration
def test_a_killed_launcher_takes_everything_along_and_the_next_one_finds_its_key(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    with service(env) as running:
        key = running.read_until(r"Your key: (\S+)")[1]
        children = running.children()
        assert len(children) >= 4

        running.process.kill()

        assert not psutil.wait_procs(children, timeout=60)[1]
    with service(env) as running:
        path = running.read_until(r"Your key is in (\S+)")[1]
        paste = running.read_until(r"^curl .*")[0] + running.read_until(r"  -H 'Content-Type.*")[0]
        assert Path(path).read_text().strip() == key
        assert key not in paste
        paste = paste.replace("\\", "")
        assert '"prediction"' in subprocess.check_output(["bash", "-c", paste], text=True)
