"""The headers of rate limits: `RateLimit-Policy` and `RateLimit`, and the older `X-RateLimit-*`.

https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
"""

from __future__ import annotations

import math

from api.services.quotas import Quota
from shared.rate_limits import WINDOW_S

NAMES = (
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Limit-Tokens",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Remaining-Tokens",
    "X-RateLimit-Reset",
)


def rate_headers(quota: Quota) -> dict[str, str]:
    """The headers of a response; `t` and `X-RateLimit-Reset` are seconds until more is left."""
    rate, state = quota.demand.rate, quota.state
    limits = [
        ("requests", rate.requests, state.requests, state.requests_wait_s),
        ("tokens", rate.tokens, state.tokens, state.tokens_wait_s),
    ]
    policies, states, headers = [], [], {}
    for name, limit, count, wait_s in limits:
        if limit is None:
            continue
        left, reset_s = max(0, limit - count), math.ceil(wait_s or state.reset_s) if count else 0
        policies.append(f'"{name}";q={limit};w={WINDOW_S}')
        states.append(f'"{name}";r={left};t={reset_s}')
        headers[f"X-RateLimit-Limit-{name.capitalize()}"] = str(limit)
        headers[f"X-RateLimit-Remaining-{name.capitalize()}"] = str(left)
        headers["X-RateLimit-Reset"] = str(max(reset_s, int(headers.get("X-RateLimit-Reset", "0"))))
    if not policies:
        return {}
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states), **headers}
