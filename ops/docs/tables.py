"""What the generated tables say: names and values from the code, sentences from `wording`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from api.app import OPERATIONS
from api.http.concurrency import RESERVED_THREADS
from api.openapi.document import document
from api.server.route_limits import BATCH_BODY_BYTES, SMALL_BODY_BYTES
from api.services.idempotency import MAX_CHARS
from api.services.metrics import ApiMetrics, _LedgerCollector
from ops.docs import wording
from ops.docs.pages import table
from shared import settings
from shared.jobs import TRANSITIONS
from shared.key_record import SCOPES
from shared.model_catalogue import load as load_catalogue
from shared.settings import PREFIX, Settings
from shared.statuses import STATUS
from workers import metrics as worker_metrics
from workers.inputs.tables.row import MAX_COLUMNS

FIXED = {
    "MAX_CHARS": MAX_CHARS,
    "MAX_COLUMNS": MAX_COLUMNS,
    "BATCH_BODY_BYTES": BATCH_BODY_BYTES,
    "SMALL_BODY_BYTES": SMALL_BODY_BYTES,
    "CLASSIFY_SLOTS": Settings().api_threads - RESERVED_THREADS,
}
"""Limits that are no settings, by the names that `wording.LIMITS` uses."""


def limits() -> str:
    """Every limit with its default and the setting that changes it."""
    rows = [("limit", "default", "setting")]
    for name, what in wording.LIMITS.items():
        if name in FIXED:
            setting = wording.FIXED_BY.get(name, "fixed")
            rows.append((what, f"{FIXED[name]:,}", setting))
        else:
            rows.append((what, f"{getattr(Settings(), name):,.0f}", f"`{PREFIX}{name.upper()}`"))
    return table(*rows)


def errors() -> str:
    """Every status and code of an error body, with what causes it.

    Raises:
        LookupError: `wording.ERRORS` lacks a code, or has one that no error carries.
    """
    known = {(status.value, error.code) for error, status in STATUS.items()}
    if known != set(wording.ERRORS):
        raise LookupError(f"wording.ERRORS and the error tree differ: {known ^ {*wording.ERRORS}}")
    rows = [(str(s), f"`{code}`", when) for (s, code), when in sorted(wording.ERRORS.items())]
    return table(("status", "code", "cause"), *rows)


def metrics() -> str:
    """Every metric of the product with its type, its labels and the processes that expose it.

    Raises:
        LookupError: `wording.METRICS` lacks a metric, or has one that no process exposes.
    """
    known = metric_shapes()
    if known.keys() != wording.METRICS.keys():
        names = known.keys() ^ wording.METRICS.keys()
        raise LookupError(f"wording.METRICS and the metrics of the code differ: {names}")
    rows = [("metric", "exposed by", "type", "labels", "value")]
    for name, (by, about) in wording.METRICS.items():
        kind, labels = known[name]
        rows.append((f"`{name}`", by, kind, ", ".join(f"`{each}`" for each in labels), about))
    return table(*rows)


def metric_shapes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The type and the labels of every metric of the product, by the name that it is exposed by."""
    ledger: Any = _EmptyLedger()
    catalogue = load_catalogue(default=Settings().default_model)
    found = [*_instruments(ApiMetrics(ledger, catalogue)), *_instruments(worker_metrics)]
    return {**_shapes(found), **_shapes(_LedgerCollector(ledger, catalogue).collect())}


class _EmptyLedger:
    def queues(self) -> tuple[str, ...]:
        return ()

    def reports(self, role: str) -> dict[str, bytes]:
        del role
        return {}


def _instruments(owner: object) -> Iterator[MetricWrapperBase]:
    return (each for each in vars(owner).values() if isinstance(each, MetricWrapperBase))


def _shapes(
    metrics: Iterable[MetricWrapperBase | Metric],
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The type and the labels of each metric, by the name under which it is exposed."""
    shapes = {}
    for metric in metrics:
        family = metric if isinstance(metric, Metric) else next(iter(metric.describe()))
        name = family.name + ("_total" if family.type == "counter" else "")
        labels: tuple[str, ...] = tuple(vars(metric)["_labelnames"])
        shapes[name] = family.type, labels
    return shapes


def scopes() -> str:
    """Every scope of a key with the calls that need it.

    Raises:
        LookupError: A call needs a scope that no key can have, or a scope opens nothing.
    """
    found = sorted((each for each in OPERATIONS if each.scope), key=lambda each: each.scope)
    if (needed := {each.scope for each in found}) != set(SCOPES):
        raise LookupError(
            f"the operations and shared.key_record.SCOPES differ: {needed ^ {*SCOPES}}"
        )
    rows = [
        (
            f"`{each.scope}`" + ("; none for a job that the key submitted" * each.own_jobs),
            f"`{each.method.upper()} {each.path}`",
            each.summary,
        )
        for each in found
    ]
    return table(("scope", "call", "effect"), *rows)


def calls() -> str:
    """Every method and path, by the tag of the OpenAPI document."""
    described = document(OPERATIONS)
    rows: dict[str, list[tuple[str, str]]] = {tag["name"]: [] for tag in described["tags"]}
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            rows[call["tags"][0]].append((f"`{method.upper()} {path}`", call["summary"]))
    tables = (f"## {tag}\n\n{table(('call', 'effect'), *found)}" for tag, found in rows.items())
    return "\n\n".join(tables)


def transitions() -> str:
    """What each event does to a job in each of its states."""
    origins: dict[tuple[str, str], list[str]] = {}
    for (state, event), target in TRANSITIONS.items():
        origins.setdefault((event.__name__, target), []).append(state)
    rows = ((event, ", ".join(states), to) for (event, to), states in origins.items())
    return table(("event", "from", "to"), *rows)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/reference/settings.md": {"settings": settings.table},
    "docs/reference/limits.md": {"limits": limits},
    "docs/reference/errors.md": {"errors": errors},
    "docs/reference/metrics.md": {"metrics": metrics},
    "docs/reference/scopes.md": {"scopes": scopes},
    "docs/reference/api.md": {"calls": calls},
    "docs/explanation/durability.md": {"transitions": transitions},
}
"""The generated tables of each page, by the name of their markers."""
