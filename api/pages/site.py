"""The routes of the pages: the playground at `/`, the dashboard at `/dashboard`, their files.

The pages are the same for all visitors and hold no data: scripts fetch that with the API key, which
the browser keeps for one tab. Nothing is loaded from another host, and nothing inline runs.
"""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, render_template

from api.http import middleware
from api.reports.page import style_source

STATIC = "/static"


@cache
def policy() -> str:
    """The Content-Security-Policy of the pages and their files."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            # The style of a report, which the dashboard opens in a tab with the policy of its own.
            f"style-src 'self' {style_source()}",
            "img-src 'self' data: blob:",  # images of the visitor, and plots fetched with a key
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",  # scripts handle all forms: none may put its fields into a URL
            "frame-ancestors 'none'",
        )
    )


def blueprint() -> Blueprint:
    """The routes; they need no key."""
    routes = Blueprint(
        "pages",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path=STATIC,
    )

    @routes.get("/")
    def playground() -> str:
        return page("playground")

    @routes.get("/dashboard")
    def dashboard() -> str:
        return page("dashboard")

    @routes.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy()
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"  # asked again by ETag: versions never mix
        return response

    return routes


def page(name: str) -> str:
    """The HTML of a page.

    Its links are relative where no path prefix is known: a proxy may have removed one without
    saying so.
    """
    root = middleware.root()
    return render_template(f"{name}.html", page=name, root=f"{root}/" if root else "")
