"""The header that names the model of a classify call."""

from __future__ import annotations

from shared.dialects.classify_response import models_of
from shared.model_catalogue import AUTO, Catalogue
from shared.types import ClassifyRequest, ClassifyResult


def model_header(
    request: ClassifyRequest, catalogue: Catalogue, result: ClassifyResult | None = None
) -> dict[str, str]:
    """`X-Model`: each model that answers; before the answer that of the request, which is `auto` if
    the language decides.
    """
    answering = () if result is None else models_of(request, result)
    models = dict.fromkeys(catalogue.find(name).name for of_item in answering for name in of_item)
    asked = catalogue.find(request.model).name if request.multilingual_model is None else AUTO
    return {"X-Model": ", ".join(models) or asked}
