"""The header that names the model of a classify call."""

from __future__ import annotations

from shared.model_catalogue import AUTO, Catalogue
from shared.types import ClassifyRequest, ClassifyResult


def model_header(
    request: ClassifyRequest, catalogue: Catalogue, result: ClassifyResult | None = None
) -> dict[str, str]:
    """`X-Model`: the model that answers, or each of `auto`; `auto` before there is a result."""
    model = catalogue.find(request.model).name
    if request.multilingual_model is not None:
        model = AUTO if result is None else ", ".join(dict.fromkeys(result.item_models))
    return {"X-Model": model}
