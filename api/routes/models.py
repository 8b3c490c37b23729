"""GET /v1/models: what the catalogue offers, and whether a living worker serves it."""

from __future__ import annotations

from flask import Blueprint, Response

from api import door
from api.members import Members
from api.routes.reply import reply
from api.wire.model import Model, ModelList
from shared.catalogue import Catalogue, ModelEntry
from shared.errors import Unavailable


def blueprint(*, catalogue: Catalogue, members: Members) -> Blueprint:
    """The route."""
    routes = Blueprint("models", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("classify")

    @routes.get("/v1/models")
    def listing() -> Response:
        return reply(ModelList(data=[_model(e, members) for e in catalogue.entries.values()]))

    return routes


def _model(entry: ModelEntry, members: Members) -> Model:
    try:
        members.device_for(entry)
        available = True
    except Unavailable:
        available = False
    return Model(
        id=entry.name,
        aliases=entry.aliases,
        device=entry.device,
        languages=entry.languages,
        available=available,
    )
