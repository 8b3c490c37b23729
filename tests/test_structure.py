"""Names in the server: a class or a module is found at the first guess."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "ops", "shared", "workers")
CLIENT = ROOT / "api" / "client"  # a project of its own, whose names are those of the wire


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if CLIENT not in path.parents:
                yield path.relative_to(ROOT)


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in sources():
        for node in ast.parse((ROOT / path).read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path))

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_name_stands_in_more_than_two_packages() -> None:
    places = defaultdict(set)
    for path in sources():
        if not path.stem.startswith("__"):
            places[path.stem].add(path.parts[0])

    assert {name: found for name, found in places.items() if len(found) > 2} == {}


def test_no_module_is_longer_than_can_be_read_at_once() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in sources()}

    assert {path: lines for path, lines in lengths.items() if lines > 420} == {}
