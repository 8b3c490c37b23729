from __future__ import annotations

import re
import tomllib
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ops.compose import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "ops" / "constraints.txt").read_text()


def test_everything_that_is_asked_for_is_pinned_to_a_version_that_fits() -> None:
    pins: dict[str, list[str]] = {}
    for line in CONSTRAINTS.splitlines():
        pin = Requirement(line)
        pins.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier)[2:])
    asked = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]

    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        if name == PROJECT["name"]:
            continue
        assert name in pins, f"{name} is not pinned; say: make lock"
        for version in pins[name]:
            assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_a_torch_without_cuda_satisfies_its_pin() -> None:
    (pin,) = [Requirement(line) for line in CONSTRAINTS.splitlines() if line.startswith("torch==")]

    assert pin.specifier.contains(f"{str(pin.specifier)[2:]}+cpu")


def test_no_address_of_a_package_index_is_written_down() -> None:
    for path in ("Makefile", "ops/constraints.txt", "ops/images/api.Dockerfile"):
        assert not re.search(r"https?://|--index|--extra-index", (ROOT / path).read_text())
