"""The documentation of the API: /openapi.json, Swagger UI at /docs, a page per error code."""

from __future__ import annotations

from functools import lru_cache

from flask import Blueprint, Flask, Response, redirect
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.wrappers import Response as BaseResponse

from api.http import middleware
from api.http.json_response import reply
from api.openapi.document import document
from api.openapi.model import Operation
from api.schemas import body
from shared import errors
from shared.dialects.problem import slug
from shared.statuses import STATUS

_SPEC = "/openapi.json"
_DOCS = "/docs"
_ROOTS_KEPT = 8
# The page names its files and the document relative to itself, so it works behind any proxy.
_PAGE = "docs/"
_ASSETS = "."
_SPEC_OF_PAGE = f"..{_SPEC}"


def install(app: Flask, operations: tuple[Operation, ...]) -> None:
    """The routes; everything they need is served from here, nothing from elsewhere."""
    app.register_blueprint(_documents(operations))
    settings = {
        "app_name": "Pigeonhole",
        "validatorUrl": None,  # else the page sends the document to a public checker
        "oauth2RedirectUrl": "",
        "persistAuthorization": False,
    }
    page = get_swaggerui_blueprint(_ASSETS, _SPEC_OF_PAGE, config=settings)
    app.register_blueprint(page, url_prefix=_DOCS)


def _documents(operations: tuple[Operation, ...]) -> Blueprint:
    routes = Blueprint("documents", __name__)
    spec = lru_cache(_ROOTS_KEPT)(lambda root: body.dump(document(operations, root)))

    @routes.get(_DOCS)
    def page_without_slash() -> BaseResponse:
        return redirect(_PAGE)

    @routes.get(_SPEC)
    def openapi() -> Response:
        return Response(spec(middleware.root()), content_type="application/json")

    @routes.get("/errors/<name>")
    def error(name: str) -> Response:
        kinds = [kind for kind in errors.tree() if slug(kind.code) == name]
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
