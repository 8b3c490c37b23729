"""Names in the product: a class or a module is found at the first guess."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pigeonhole_client.errors import BY_CODE

from shared import errors

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "ops", "shared", "workers")
CLIENT = ROOT / "api" / "client"  # a project of its own
OF_THE_WIRE = {"drift.py", "errors.py", "types.py"}
"""Modules of the client with what the service sends: it has the same name on both sides."""

TERMS = {
    "backpressure": "workers/claim_capacity.py",
    "deduplicate": "api/services/duplicate_calls.py",
    "DNS rebinding": "workers/outbound_http/connection.py",
    "in-flight": "shared/adapters/redis/lua/prelude.lua",
    "middleware": "api/http/middleware.py",
    "orphan": "workers/keeper/orphan_gc.py",
    "pagination": "api/http/pagination.py",
    "SSRF": "shared/url_policy.py",
    "throttle": "api/server/failed_auth_limiter.py",
    "zip bomb": "workers/inputs/documents/opc_package.py",
}


def sources(*, client: bool = False) -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if (CLIENT in path.parents) == client:
                yield path.relative_to(ROOT)


def classes(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The places of each top-level class."""
    places = defaultdict(list)
    for path in paths:
        for node in ast.parse((ROOT / path).read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    return places


def test_no_two_top_level_classes_have_one_name() -> None:
    for client in (False, True):
        places = classes(sources(client=client))
        assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_client_shares_only_names_of_what_the_service_sends() -> None:
    service, client = classes(sources()), classes(sources(client=True))
    own = {name: path for name, (path,) in client.items() if path.name not in OF_THE_WIRE}

    assert {name: (path, service[name]) for name, path in own.items() if name in service} == {}


def test_an_error_of_one_name_has_one_code_in_the_service_and_the_client() -> None:
    names = {error.__name__: code for code, error in BY_CODE.items()}

    for name, code in names.items():
        assert getattr(getattr(errors, name, None), "code", code) == code


def test_no_module_name_stands_in_more_than_two_packages() -> None:
    places = defaultdict(set)
    for path in sources():
        if not path.stem.startswith("__"):
            places[path.stem].add(path.parts[0])

    assert {name: found for name, found in places.items() if len(found) > 2} == {}


@pytest.mark.parametrize(("term", "file"), TERMS.items())
def test_a_standard_term_is_found_where_its_subject_is(term: str, file: str) -> None:
    assert term.lower() in (ROOT / file).read_text().lower()


def test_no_module_is_longer_than_can_be_read_at_once() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in sources()}

    assert {path: lines for path, lines in lengths.items() if lines > 420} == {}
