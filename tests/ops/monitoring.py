"""Reads ops/monitoring: the alerts, the panels of the dashboard, and what their queries name."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import promql_parser
import yaml

from tests.ops.compose import ROOT

FOLDER = ROOT / "ops" / "monitoring"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: dict[str, str] = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
"""Every query of the rules and of the dashboard, by its alert or its panel."""

_OF_PROMETHEUS = {"instance", "job"}  # labels that it adds to every series


def labels_of(query: str) -> dict[str, set[str]]:
    """The metrics that a query reads, each with the labels that the query needs of it.

    Raises:
        ValueError: It is no PromQL.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for node in _nodes(promql_parser.parse(query)):
        for each in _selectors(node):
            found[each.name] |= _grouped_by(node) - _OF_PROMETHEUS
            found[each.name] |= {m.name for m in each.matchers.matchers} - _OF_PROMETHEUS
    return found


def values_of(query: str) -> set[tuple[str, str, str]]:
    """What a query compares by `=`: metric, label and value."""
    return {
        (each.name, matcher.name, matcher.value)
        for each in _selectors(promql_parser.parse(query))
        for matcher in each.matchers.matchers
        if matcher.op == promql_parser.MatchOp.Equal
    }


def _nodes(tree: promql_parser.Expr) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(tree, nodes.append)
    return nodes


def _selectors(tree: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    return [n for n in _nodes(tree) if isinstance(n, promql_parser.VectorSelector)]


def _grouped_by(node: promql_parser.Expr) -> set[str]:
    """The labels of the node's `by (…)` or `on (…)`."""
    if isinstance(node, promql_parser.AggregateExpr):
        return set(node.modifier.labels if node.modifier else ())
    if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
        return set(node.modifier.matching.labels)
    return set()
