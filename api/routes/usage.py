"""GET /v1/usage and /v1/balance: the usage and the balance of the account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import get_args

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import middleware
from api.http.json_response import reply
from api.openapi.model import Operation, Parameter, choice
from api.routes.filters import one_of
from api.schemas.usage import (
    BalanceObject,
    GroupBy,
    UsageReport,
    render_balance,
    render_csv,
    render_report,
)
from shared.usage import hour_of
from shared.validation import refuse

_CSV = "text/csv"
_DEFAULT_DAYS = 30
MAX_DAYS = 400
_GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
_operation = partial(Operation, tag="Account", scope="account", method="get")


def _time(name: str, about: str) -> Parameter:
    about += " A date, or a time of ISO 8601; hours in UTC are the finest unit."
    return Parameter(name=name, where="query", about=about, schema={"type": "string"})


OPERATIONS = (
    _operation(
        path="/v1/usage",
        name="getUsage",
        summary="The usage of the account, by time, model, kind of work, key or classifier.",
        parameters=(
            _time("from", f"First hour of the report; by default {_DEFAULT_DAYS} days ago."),
            _time("to", "Last hour of the report, included; by default this hour."),
            choice("group_by", "What each row sums up; by default a day.", _GROUPS),
        ),
        about="Send `Accept: text/csv` for a table. Jobs count when they have ended, synchronous "
        "calls within 10 seconds.",
        answers={200: (UsageReport, _CSV)},
    ),
    _operation(
        path="/v1/balance",
        name="getBalance",
        summary="The tokens that the account has left.",
        answers={200: BalanceObject},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    statements, clock = services.statements, services.submit.clock
    routes = Blueprint("usage", __name__)

    @routes.get("/v1/usage")
    def usage() -> Response:
        first, last = _hours(clock())
        group_by: GroupBy = one_of("group_by", _GROUPS) or "day"  # type: ignore[assignment]
        rows = statements.rows(middleware.caller().account, first=first, last=last)
        if request.accept_mimetypes.best_match(["application/json", _CSV]) == _CSV:
            return Response(render_csv(rows, group_by), content_type=f"{_CSV}; charset=utf-8")
        return reply(render_report(rows, group_by, first, last))

    @routes.get("/v1/balance")
    def balance() -> Response:
        caller = middleware.caller()
        free_tokens = caller.tier.free_tokens
        found = statements.balance(caller.account, free_tokens=free_tokens)
        return reply(render_balance(found, unlimited=free_tokens is None))

    return routes


def _hours(now_s: float) -> tuple[str, str]:
    """The first and the last hour of the report.

    Raises:
        InvalidRequest: One is no time, they are in the wrong order, or too far apart.
    """
    last = _parsed("to", end=True) or datetime.fromtimestamp(now_s, UTC)
    first = _parsed("from", end=False) or last - timedelta(days=_DEFAULT_DAYS)
    if first > last:
        refuse("from", "must not be after 'to'")
    if last - first > timedelta(days=MAX_DAYS):
        refuse("from", f"must be at most {MAX_DAYS} days before 'to'")
    return hour_of(first), hour_of(last)


def _parsed(name: str, *, end: bool) -> datetime | None:
    text = request.args.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        return at + timedelta(hours=23) if end and len(text) <= len("2026-01-31") else at
    except (ValueError, OverflowError):
        refuse(name, "must be a date such as 2026-01-31, or a time such as 2026-01-31T09:00Z")
