"""Reads docker-compose.yml the way Compose does: merge keys, and `${VAR}` in every string."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docker-compose.yml"
SECRETS = {"REDIS_PASSWORD": "0f" * 24, "S3_ACCESS_KEY": "access", "S3_SECRET_KEY": "secret"}
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\})")


class MissingVariable(Exception):
    """Raised where Compose would refuse to start; the message is the file's own."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service with its variables filled in."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    depends_on: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(repr=False)


def services(path: Path = PATH, env: Mapping[str, str] | None = None) -> dict[str, Service]:
    """The services by name.

    Args:
        path: A Compose file.
        env: What `${VAR}` is filled from; `SECRETS` if None.

    Raises:
        MissingVariable: A `${VAR:?…}` is not in `env`.
    """
    given = SECRETS if env is None else env
    found = document(path, given)["services"]
    return {
        name: Service(
            name=name,
            command=tuple(raw["command"]),
            environment={k: str(v) for k, v in raw.get("environment", {}).items()},
            depends_on=tuple(raw.get("depends_on", ())),
            raw=raw,
        )
        for name, raw in found.items()
    }


def document(path: Path = PATH, env: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """The whole file with its variables filled in."""
    filled = _filled(yaml.safe_load(path.read_text("utf-8")), env)
    assert isinstance(filled, dict)
    return filled


def local_environment(service: Service, moved: Mapping[str, str]) -> dict[str, str]:
    """The environment to run a service's command in as a process of this machine.

    Args:
        service: Whose environment.
        moved: What stands elsewhere here, such as ``{"redis:6379": "127.0.0.1:23000"}``.
    """
    environment = dict(os.environ)
    for name, value in service.environment.items():
        for there, here in moved.items():
            value = value.replace(there, here)
        environment[name] = value
    return environment


def _filled(node: Any, env: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, env) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, env) for value in node]
    return _VARIABLE.sub(lambda m: _value(m, env), node) if isinstance(node, str) else node


def _value(match: re.Match[str], env: Mapping[str, str]) -> str:
    name = match["name"]
    if name is None:
        return "$"
    if env.get(name):
        return env[name]
    if match["how"] == ":?":
        raise MissingVariable(f"{name}: {match['rest']}")
    return match["rest"] or ""
