"""docs/reference is what the code says: generated tables are fresh, and nothing lacks its place."""

from __future__ import annotations

import pytest

from api.app import OPERATIONS
from api.http.concurrency import RESERVED_THREADS
from api.openapi.document import document
from ops.docs import wording
from ops.docs.pages import rewritten
from ops.docs.tables import FIXED, TABLES
from shared import telemetry
from shared.limits import Limits
from shared.settings import PREFIX, Settings
from shared.statuses import STATUS
from tests.docs.pages import ROOT


def reference(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("page", TABLES)
def test_a_generated_table_is_what_the_code_says(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    tables = {name: render() for name, render in TABLES[page].items()}

    assert text == rewritten(text, tables, page=page), "run `make docs` and commit the pages"


def test_every_setting_has_its_place() -> None:
    page = reference("settings")

    assert [n for n in Settings.__dataclass_fields__ if f"`{PREFIX}{n.upper()}`" not in page] == []


def test_every_limit_has_its_place() -> None:
    bounds = {name for name in Settings.__dataclass_fields__ if name.startswith("max_")}
    bounds -= {"max_attempts"}  # of a part, not of what a caller sends

    assert (
        bounds | Limits.__dataclass_fields__.keys() | FIXED.keys()
    ) - wording.LIMITS.keys() == set()
    assert Limits() == Limits.of(Settings())
    assert RESERVED_THREADS == 16, "wording.FIXED_BY says so"


def test_every_error_code_has_its_place() -> None:
    page = reference("errors")

    assert [error.code for error in STATUS if f"| `{error.code}` |" not in page] == []


def test_every_metric_has_its_place() -> None:
    page = reference("metrics")
    names = [
        v for v in vars(telemetry).values() if isinstance(v, str) and v.startswith("pigeonhole_")
    ]

    assert names
    assert [name for name in names if f"`{name}" not in page] == []


def test_every_route_has_its_place() -> None:
    page = reference("api")
    routes = {
        f"{method.upper()} {path}"
        for path, of in document(OPERATIONS)["paths"].items()
        for method in of
    }
    routes |= {"GET /", "GET /dashboard", "GET /docs/", "GET /openapi.json", "GET /errors/{error}"}

    assert [route for route in sorted(routes) if f"`{route}`" not in page] == []
