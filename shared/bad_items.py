"""Invalid items of a classify request, found before a worker runs it.

If the request has `errors="per_item"`, an empty item replaces each invalid item, its error travels
with the request, and the result reports it (`failed`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from shared.errors import PigeonholeError
from shared.messages import failure_of
from shared.types import ClassifyRequest, FailedItem, Item


def each_item(request: ClassifyRequest, check: Callable[[int, Item], Item]) -> ClassifyRequest:
    """The request with every item as `check` returns it; already refused items are skipped.

    Args:
        request: N items.
        check: Takes the index and the item; returns an item or raises an error.

    Raises:
        PigeonholeError: From `check`, where the request does not ask for errors per item, or a
            part of the service is away: that is no fault of the item.
    """
    aside = {each.index for each in request.refused}
    items: list[Item] = []
    refused = list(request.refused)
    for index, item in enumerate(request.items):
        if index in aside:
            items.append(item)
            continue
        try:
            items.append(check(index, item))
        except PigeonholeError as exc:
            if request.errors != "per_item" or exc.retryable:
                raise
            items.append(Item())
            refused.append(FailedItem(index=index, failure=failure_of(exc)))
    if all(map(operator.is_, items, request.items)) and len(refused) == len(request.refused):
        return request
    return request.model_copy(update={"items": tuple(items), "refused": tuple(refused)})
