"""What a release says of itself: one version, its images, and the licences of what it runs on."""

from __future__ import annotations

import re
import tomllib

import yaml

from ops.docs.licences import PAGE, runtime_packages
from tests.ops.compose import ROOT, services
from tests.ops.kustomize import BUILDS, build

PROJECTS = [ROOT / "pyproject.toml", ROOT / "api" / "client" / "pyproject.toml"]
# Of what we link to or import. MPL-2.0 is by file, and LGPL is not among them.
ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|CC0|Zlib|NVIDIA|HPND|Unlicense"
)
NAMELESS = {"cuda-toolkit"}  # a package of NVIDIA that has no file of its own


def version() -> str:
    return str(tomllib.loads(PROJECTS[0].read_text("utf-8"))["project"]["version"])


def test_server_and_client_have_one_version() -> None:
    versions = {tomllib.loads(p.read_text("utf-8"))["project"]["version"] for p in PROJECTS}

    assert versions == {version()}
    assert re.fullmatch(r"\d+\.\d+\.\d+", version()), "semantic, as CHANGELOG.md says"


def test_images_have_the_version() -> None:
    images = {each.raw["image"] for each in services().values() if "build" in each.raw}
    for folder in BUILDS:
        for each in build(folder):
            images |= set(re.findall(r"image: (pigeonhole-\S+)", yaml.safe_dump(each)))

    assert images
    assert {image.rpartition(":")[2] for image in images} == {version()}


def test_the_changelog_has_the_version_below_what_is_not_released() -> None:
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)

    assert sections[:2] == ["Unreleased", version()]


def test_every_package_that_runs_is_listed_with_its_licence() -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    listed = dict(re.findall(r"^\| (\S+) \| (.+?) \|$", page, re.M))
    found = runtime_packages()

    assert len(found) > 50
    missing = {name: licence for name, licence in found.items() if name not in listed}
    assert missing == {}, "run `python -m ops.docs.licences` and commit the page"


def test_no_package_that_runs_has_a_licence_that_was_not_looked_at() -> None:
    odd = {
        name: licence
        for name, licence in runtime_packages().items()
        if not ALLOWED.search(licence) or re.search(r"\bA?GPL", licence)
    }

    assert odd.keys() <= NAMELESS, odd
