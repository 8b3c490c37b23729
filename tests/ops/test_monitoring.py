"""Alerts and dashboard ask for metrics that exist, by labels that they have."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ops.docs.tables import metric_shapes
from tests.ops.compose import ROOT
from tests.ops.monitoring import ALERTS, DASHBOARD, FOLDER, PANELS, QUERIES, labels_of

RUNBOOK = (ROOT / "docs" / "operations" / "runbook.md").read_text("utf-8")
OF_CLIENT = {"up": set(), "process_resident_memory_bytes": set()}
"""Metrics of Prometheus itself and of its client library, with no labels of their own."""


def series() -> dict[str, set[str]]:
    """The labels of each series, by its name in a query."""
    found: dict[str, set[str]] = dict(OF_CLIENT)
    for name, (kind, labels) in metric_shapes().items():
        if kind == "histogram":
            found |= {f"{name}_count": {*labels}, f"{name}_sum": {*labels}}
            found[f"{name}_bucket"] = {*labels, "le"}
        else:
            found[name] = {*labels}
    return found


def test_every_query_names_metrics_and_labels_that_exist() -> None:
    known = series()
    wrong = [
        f"{place}: {metric} {sorted(labels)}"
        for place, query in QUERIES.items()
        for metric, labels in labels_of(query).items()
        if metric not in known or labels - known[metric]
    ]

    assert wrong == []


def test_the_reader_of_queries_sees_metrics_labels_and_groups() -> None:
    query = 'sum by (a) (rate(x{b="1",job="j"}[5m])) / on (c) max(y) unless on (d) absent(z)'

    assert labels_of(query) == {"x": {"a", "b", "c", "d"}, "y": {"c", "d"}, "z": {"d"}}


def test_every_metric_of_the_product_is_watched() -> None:
    asked = {metric for query in QUERIES.values() for metric in labels_of(query)}
    families = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in asked}

    assert metric_shapes().keys() - families == set()


@pytest.mark.parametrize("gauge", ["pigeonhole_queue_waiting", "pigeonhole_live_processes"])
def test_what_every_api_process_repeats_is_never_added_up(gauge: str) -> None:
    for place, query in QUERIES.items():
        for found in re.finditer(rf"(\w+)\s*(?:by \([^)]*\) )?\({gauge}", query):
            assert found[1] in {"max", "absent"}, place


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Pigeonhole")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    section = re.search(rf"^### {rule['alert']}\n\n(.+?)(?=\n#|\Z)", RUNBOOK, re.M | re.S)
    assert section, f"docs/operations/runbook.md lacks a section ### {rule['alert']}"
    assert len(section[1].split()) >= 20


def test_the_runbook_has_no_section_of_an_alert_that_does_not_exist() -> None:
    sections = re.findall(r"^### (Pigeonhole\w+)$", RUNBOOK, re.M)

    assert sections == [rule["alert"] for rule in ALERTS]


def test_the_dashboard_asks_the_data_source_that_its_reader_chooses() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    sources = {panel["datasource"]["uid"] for panel in PANELS}

    assert sources == {f"${{{variable['name']}}}"}
    assert all(panel["description"].endswith(".") for panel in PANELS)


def test_no_two_panels_lie_on_each_other() -> None:
    places = [each["gridPos"] for each in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(places)


def test_prometheus_loads_the_rules_and_names_jobs_as_they_expect() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))

    assert all((FOLDER / name).is_file() for name in config["rule_files"])
    jobs = [each["job_name"] for each in config["scrape_configs"]]
    assert jobs == ["pigeonhole-api", "pigeonhole-worker", "pigeonhole-keeper"]
