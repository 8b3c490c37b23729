"""Headers that tell what the result cache had of a classify call."""

from __future__ import annotations

from shared.types import ClassifyResult


def cache_headers(result: ClassifyResult) -> dict[str, str]:
    """`X-Cache` is HIT if all items were cached; none of the headers without a lookup."""
    lookup = result.cache
    if lookup is None:
        return {}
    if len(lookup.hits) < len(result.answers):
        return {"X-Cache": "MISS", "X-Cache-Key": lookup.key}
    return {"X-Cache": "HIT", "X-Cache-Key": lookup.key, "X-Cache-Age": str(lookup.age_s)}
