"""The header that names the model of a classify call."""

from __future__ import annotations

from shared.model_catalogue import AUTO, Catalogue
from shared.types import ClassifyRequest, ClassifyResult


def model_header(
    request: ClassifyRequest, catalogue: Catalogue, result: ClassifyResult | None = None
) -> dict[str, str]:
    """`X-Model`: the model that answers, or each of `auto`; `auto` where none has answered yet."""
    model = catalogue.find(request.model).name
    if request.multilingual_model is not None:
        models = () if result is None else filter(None, result.item_models)
        model = ", ".join(dict.fromkeys(models)) or AUTO
    return {"X-Model": model}
