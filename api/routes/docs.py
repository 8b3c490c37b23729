"""What the API says of itself: /openapi.json, a page to try it at /docs, a sentence per error."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Flask, Response, redirect
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.wrappers import Response as BaseResponse

from api import problems
from api.openapi import document
from api.routes.reply import reply
from api.wire import body
from shared import errors
from shared.statuses import STATUS

_SPEC = "/openapi.json"
_DOCS = "/docs"


def install(app: Flask) -> None:
    """The routes; everything they need is served from here, nothing from elsewhere."""
    app.register_blueprint(_documents())
    settings = {
        "app_name": "Pigeonhole",
        "validatorUrl": None,  # else the page sends the document to a public checker
        "oauth2RedirectUrl": "",
        "persistAuthorization": False,
    }
    app.register_blueprint(get_swaggerui_blueprint(_DOCS, _SPEC, config=settings))


def _documents() -> Blueprint:
    routes = Blueprint("documents", __name__)
    spec = cache(lambda: body.dump(document()))

    @routes.get("/")
    def home() -> BaseResponse:
        return redirect(f"{_DOCS}/")

    @routes.get(_SPEC)
    def openapi() -> Response:
        return Response(spec(), content_type="application/json")

    @routes.get("/errors/<name>")
    def error(name: str) -> Response:
        kinds = [kind for kind in errors.tree() if problems.slug(kind.code) == name]
        if not kinds:
            raise errors.NotFound("there is no error of this name")
        return reply(
            {
                "code": kinds[0].code,
                "raised": [
                    {"status": STATUS[kind], "when": (kind.__doc__ or "").strip()} for kind in kinds
                ],
            }
        )

    return routes
