"""/v1/models: the models of the catalogue, and whether a running worker serves each."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, Response

from api.dependencies import Services
from api.http.json_response import reply
from api.openapi.model import Operation, path_id
from api.schemas.model import ModelList, ModelObject
from api.services.worker_registry import ModelState, WorkerRegistry
from shared import service_clock
from shared.engine_resolution import engines_of
from shared.errors import ModelNotFound, NotFound, Unavailable
from shared.model_catalogue import AUTO, AutoEntry, Catalogue, ModelEntry
from shared.types import Engine

_MODEL_ID = path_id("model_id", "The `id` of a model or one of its aliases.")
_operation = partial(Operation, tag="Models", scope="classify")

OPERATIONS = (
    _operation(
        method="get",
        path="/v1/models",
        name="listModels",
        summary="The models on offer.",
        answers={200: ModelList},
    ),
    _operation(
        method="get",
        path="/v1/models/{model_id}",
        name="getModel",
        summary="A model, by its id or an alias.",
        parameters=(_MODEL_ID,),
        answers={200: ModelObject},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    catalogue, members = services.catalogue, services.members
    text_fallback = services.settings.text_fallback
    routes = Blueprint("models", __name__)
    created = int(service_clock.now())

    def view(entry: ModelEntry) -> ModelObject:
        available = _available(entry, members)
        falls_back = text_fallback and entry.reads_images and not available and entry.aliases
        return ModelObject(
            id=entry.name,
            created=created,
            owned_by=entry.owner,
            aliases=entry.aliases,
            device=entry.device,
            languages=entry.languages,
            kind="nli" if entry.is_nli else "embedding",
            engines=_engines(entry, catalogue, members),
            available=available,
            **_use(entry, members),
            texts_served_by=catalogue.default.name if falls_back else None,
        )

    def view_of_auto(auto: AutoEntry) -> ModelObject:
        both = [view(catalogue.entries[name]) for name in auto.models]
        update = {
            "id": AUTO,
            "owned_by": "pigeonhole",
            "aliases": auto.aliases,
            "languages": tuple(sorted({each for model in both for each in model.languages})),
            "available": all(model.available for model in both),
            "state": _state_of_all([model.state for model in both]),
            "last_used": max((m.last_used for m in both if m.last_used is not None), default=None),
            "models": auto.models,
            "unsupported_languages": auto.unsupported,
        }
        return both[0].model_copy(update=update)

    @routes.get("/v1/models")
    def listing() -> Response:
        found = [] if catalogue.auto is None else [view_of_auto(catalogue.auto)]
        found += [view(entry) for entry in catalogue.entries.values()]
        return reply(ModelList(data=found))

    @routes.get("/v1/models/<path:model_id>")
    def one(model_id: str) -> Response:
        if catalogue.auto is not None and catalogue.is_auto(model_id):
            return reply(view_of_auto(catalogue.auto))
        try:
            return reply(view(catalogue.find(model_id)))
        except ModelNotFound as exc:
            raise NotFound(exc.detail) from None

    return routes


def _state_of_all(states: list[ModelState | None]) -> ModelState | None:
    order: tuple[ModelState | None, ...] = (None, "failed", "cold", "loading", "loaded")
    return min(states, key=order.index)


def _use(entry: ModelEntry, members: WorkerRegistry) -> dict[str, Any]:
    try:
        used_at = members.last_used(entry.name)
        state = members.state_of(entry.name)
    except Unavailable:
        return {"state": None, "last_used": None}
    return {"state": state, "last_used": None if used_at is None else int(used_at)}


def _engines(
    entry: ModelEntry, catalogue: Catalogue, members: WorkerRegistry
) -> tuple[Engine, ...]:
    try:
        return engines_of(entry, catalogue=catalogue, holds=members.holds)
    except Unavailable:  # without Redis no worker is known
        return engines_of(entry, catalogue=catalogue, holds=lambda *_, **__: False)


def _available(entry: ModelEntry, members: WorkerRegistry) -> bool:
    try:
        members.device_for(entry)
    except (ModelNotFound, Unavailable):
        return False
    return True
