"""The table of metrics in the docs is that of the metrics that the processes have."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from shared import telemetry
from tests.api.conftest import make_world
from workers import meters

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"


def rows() -> dict[str, tuple[str, str, set[str]]]:
    """Process, type and labels by the name of the metric."""
    _, _, rest = TABLE.read_text().partition("<!-- metrics -->")
    lines = rest.partition("<!-- /metrics -->")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "`" in line]
    return {
        name.strip("`"): (process, kind, set(re.findall("`([a-z]+)`", labels)))
        for name, process, kind, labels, _ in cells
    }


def test_every_metric_has_a_row_and_every_row_a_metric():
    known = {value for value in vars(telemetry).values() if str(value).startswith("pigeonhole_")}

    assert {name.removesuffix("_total") for name in rows()} == {
        name.removesuffix("_total") for name in known
    }


def test_workers_and_keepers_have_what_the_table_says():
    assert meters
    found = {each.name: each for each in REGISTRY.collect()}

    for name, (process, kind, labels) in rows().items():
        if process == "api":
            continue
        metric: Metric = found[name.removesuffix("_total")]
        assert metric.type == kind, name
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == labels, name


def test_the_api_has_what_the_table_says():
    world = make_world()
    client = world.client()
    client.get("/v1/models")
    text = client.get("/metrics").get_data(as_text=True)
    kinds = dict(re.findall(r"# TYPE (pigeonhole_\S+) (\S+)", text))

    table = {name: kind for name, (process, kind, _) in rows().items() if "api" in process}
    assert {name: kind for name, kind in kinds.items() if not name.endswith("_created")} == table
