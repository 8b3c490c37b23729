"""/v1/account: the account of the key, its limits, its tokens, and the remaining rates."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import middleware
from api.http.json_response import reply
from api.openapi.model import Operation
from api.schemas.account import AccountLimits, AccountObject, RateObject, RateStatus, UsedTokens
from api.services.caller import Caller
from api.services.quotas import Quota
from shared.statements import Balance, Statements
from shared.tiers import RateClass
from shared.usage import hour_of

_CLASSES: tuple[RateClass, ...] = ("zero_shot", "few_shot")

OPERATIONS = (
    Operation(
        method="get",
        path="/v1/account",
        scope="account",
        tag="Account",
        name="getAccount",
        summary="Your account: its tier, its limits, its tokens, and what remains of its rates.",
        answers={200: AccountObject},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The route."""
    quotas, authenticator = services.submit.quotas, services.authenticator
    statements, clock = services.statements, services.submit.clock
    max_classifiers = services.classifiers.max_classifiers
    cache_ttl_s = services.settings.cache_ttl_s
    routes = Blueprint("account", __name__)

    @routes.get("/v1/account")
    def account() -> Response:
        caller = middleware.caller()
        record, tier = authenticator.account(caller.account), caller.tier
        found = [quotas.look(caller, rate_class) for rate_class in _CLASSES]
        balance, used = _read(statements, caller, datetime.fromtimestamp(clock(), UTC))
        return reply(
            AccountObject(
                id=caller.account,
                name=record.name or caller.account,
                tier=tier.name,
                created_at=record.created_at,
                limits=AccountLimits(
                    zero_shot=RateObject.of(tier.zero_shot),
                    few_shot=RateObject.of(tier.few_shot),
                    concurrent_calls=tier.concurrent_calls,
                    batch_rows=tier.batch_rows,
                    classifiers=tier.max_classifiers(max_classifiers),
                    free_tokens=tier.free_tokens,
                    cache_s=tier.cache_s or cache_ttl_s,
                ),
                balance=None if tier.free_tokens is None else balance.left,
                used=used,
                rates=[status for quota in found if quota for status in _statuses(quota)],
            )
        )

    return routes


def _read(statements: Statements, caller: Caller, now: datetime) -> tuple[Balance, UsedTokens]:
    """The balance, and the tokens of the day and of the month."""
    today = now.replace(hour=0)
    balance, rows = statements.read(
        caller.account,
        first=hour_of(today.replace(day=1)),
        last=hour_of(now),
        free_tokens=caller.tier.free_tokens,
    )
    return balance, UsedTokens(
        today=sum(row.tokens for row in rows if row.hour >= hour_of(today)),
        month=sum(row.tokens for row in rows),
    )


def _statuses(quota: Quota) -> list[RateStatus]:
    demand, state = quota.demand, quota.state
    limits = (
        ("requests", demand.rate.requests, state.requests),
        ("tokens", demand.rate.tokens, state.tokens),
    )
    return [
        RateStatus(
            policy=f"{demand.rate_class}.{unit}",
            limit=limit,
            remaining=max(0, limit - count),
            reset=math.ceil(state.reset_s) if count else 0,
        )
        for unit, limit, count in limits
        if limit is not None
    ]
