"""/v1/classifiers/{classifier_id}/retraining: settings, runs, promotion and rollback."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware, pagination
from api.http.async_response import accepted_job
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.openapi.model import (
    CLASSIFIER_ID,
    IDEMPOTENCY_KEY,
    REPLAYED,
    Operation,
    Parameter,
    after,
    limit,
    path_id,
)
from api.reports import page
from api.reports.plots import plots_of
from api.schemas import body
from api.schemas.classifier import DeletedObject
from api.schemas.job import JobObject
from api.schemas.retraining import (
    RetrainingBody,
    RetrainingObject,
    RollbackObject,
    RunBody,
    SourceBody,
    merged,
    parse_run,
    parse_settings,
    parse_source,
    render_retraining,
    render_rollback,
)
from api.schemas.run import PLOTS, RunList, RunObject, render_run, render_runs
from api.schemas.run_report import RunReportObject, render_report
from api.server.route_limits import small_body_bytes
from shared.errors import NotFound
from shared.ids import is_run_id
from shared.retraining import RetrainingRecord, Run

_DEFAULT_LIMIT = 20
_MAX_LISTED = 100
_PATH = "/v1/classifiers/{classifier_id}/retraining"
_RUN_ID = path_id("run_id", "The `id` of a run.")
_HTML, _JSON, _SVG = "text/html", "application/json", "image/svg+xml"
_VARY = {"Vary": "Accept"}
_PLOT = Parameter(
    name="plot",
    where="path",
    about="One of the `plots` of the run. Matrices are drawn for up to 100 labels.",
    schema={"type": "string", "enum": [f"{plot}.svg" for plot in PLOTS]},
)
_operation = partial(Operation, tag="Retraining", scope="train")

OPERATIONS = (
    _operation(
        method="put",
        path=_PATH,
        name="putRetraining",
        summary="Set when and how a classifier is retrained.",
        about="Everything that the settings name is checked now: a schedule, a prefix, a label.",
        body=RetrainingBody,
        parameters=(CLASSIFIER_ID,),
        answers={200: RetrainingObject},
        problems=(409,),
        example={"schedule": "0 2 * * *", "timezone": "Europe/Berlin"},
    ),
    _operation(
        method="get",
        path=_PATH,
        name="getRetraining",
        summary="The retraining of a classifier.",
        parameters=(CLASSIFIER_ID,),
        answers={200: RetrainingObject},
    ),
    _operation(
        method="patch",
        path=_PATH,
        name="changeRetraining",
        summary="Change some settings; absent fields do not change.",
        body=RetrainingBody,
        parameters=(CLASSIFIER_ID,),
        answers={200: RetrainingObject},
        problems=(409,),
        example={"enabled": False},
    ),
    _operation(
        method="delete",
        path=_PATH,
        name="deleteRetraining",
        summary="Delete the retraining with its runs and its holdout; versions stay.",
        parameters=(CLASSIFIER_ID,),
        answers={200: DeletedObject},
        problems=(409,),
    ),
    _operation(
        method="post",
        path=f"{_PATH}/sources",
        name="addRetrainingSource",
        summary="Add a source of new examples, such as an uploaded file.",
        body=SourceBody,
        parameters=(CLASSIFIER_ID,),
        answers={200: RetrainingObject},
        problems=(409,),
        example={"feedback": True},
    ),
    _operation(
        method="post",
        path=f"{_PATH}/runs",
        name="startRetrainingRun",
        summary="Start a run now: a job of the kind `retrain`.",
        body=RunBody,
        body_required=False,
        parameters=(CLASSIFIER_ID, IDEMPOTENCY_KEY),
        answers={202: JobObject},
        headers={202: ("Location", "Retry-After", "Idempotent-Replayed")},
        example={"dry_run": False},
    ),
    _operation(
        method="get",
        path=f"{_PATH}/runs",
        name="listRetrainingRuns",
        summary="The runs, newest first.",
        parameters=(CLASSIFIER_ID, after("run_"), limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)),
        answers={200: RunList},
    ),
    _operation(
        method="get",
        path=f"{_PATH}/runs/{{run_id}}",
        name="getRetrainingRun",
        summary="One run: counts, both versions side by side, and the decision with its reasons.",
        parameters=(CLASSIFIER_ID, _RUN_ID),
        answers={200: RunObject},
    ),
    _operation(
        method="get",
        path=f"{_PATH}/runs/{{run_id}}/report",
        name="getRetrainingReport",
        summary="The report of a run: the decision in words, figures and plots.",
        about="One HTML page that needs nothing else, to be looked at, saved or sent by mail; "
        "`Accept: application/json` gets its data.",
        parameters=(CLASSIFIER_ID, _RUN_ID),
        answers={200: (RunReportObject, _HTML)},
    ),
    _operation(
        method="get",
        path=f"{_PATH}/runs/{{run_id}}/plots/{{plot}}",
        name="getRetrainingPlot",
        summary="A plot of the report of a run.",
        parameters=(CLASSIFIER_ID, _RUN_ID, _PLOT),
        answers={200: _SVG},
    ),
    _operation(
        method="post",
        path=f"{_PATH}/runs/{{run_id}}/promote",
        name="promoteRetrainingRun",
        summary="Promote the challenger of a run that waits.",
        parameters=(CLASSIFIER_ID, _RUN_ID),
        answers={200: RunObject},
        problems=(409,),
    ),
    _operation(
        method="post",
        path=f"{_PATH}/runs/{{run_id}}/reject",
        name="rejectRetrainingRun",
        summary="Reject the challenger of a run that waits.",
        parameters=(CLASSIFIER_ID, _RUN_ID),
        answers={200: RunObject},
        problems=(409,),
    ),
    _operation(
        method="post",
        path=f"{_PATH}/rollback",
        name="rollBackRetraining",
        summary="Move the alias back to the version before the last promotion.",
        parameters=(CLASSIFIER_ID, IDEMPOTENCY_KEY),
        answers={200: RollbackObject},
        headers=REPLAYED,
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    retraining, idempotency = services.retraining, services.idempotency
    reports = services.run_reports
    max_body_bytes = small_body_bytes(services.settings)
    routes = Blueprint("retraining", __name__, url_prefix="/v1/classifiers")

    @routes.put("/<classifier_id>/retraining")
    def put(classifier_id: str) -> Response:
        settings = parse_settings(body.parse(json_body.data(max_bytes=max_body_bytes)))
        return shown(retraining.put(account(), classifier_id, settings))

    @routes.get("/<classifier_id>/retraining")
    def get(classifier_id: str) -> Response:
        return reply(render_retraining(*retraining.get(account(), classifier_id)))

    @routes.patch("/<classifier_id>/retraining")
    def patch(classifier_id: str) -> Response:
        parsed = body.parse(json_body.data(max_bytes=max_body_bytes))
        return shown(retraining.patch(account(), classifier_id, lambda now: merged(now, parsed)))

    @routes.delete("/<classifier_id>/retraining")
    def delete(classifier_id: str) -> Response:
        retraining.delete(account(), classifier_id)
        return reply({"message": "the retraining is deleted"})

    @routes.post("/<classifier_id>/retraining/sources")
    def add_source(classifier_id: str) -> Response:
        source = parse_source(body.parse(json_body.data(max_bytes=max_body_bytes)))
        return shown(
            retraining.patch(
                account(),
                classifier_id,
                lambda now: now.model_copy(update={"sources": (*now.sources, source)}),
            )
        )

    @routes.post("/<classifier_id>/retraining/runs")
    def start(classifier_id: str) -> Response:
        data = json_body.data(max_bytes=max_body_bytes)
        parsed = parse_run(body.parse(data) if data.strip() else {})

        def run(_: str | None) -> Response:
            job = retraining.start(
                classifier_id,
                dry_run=parsed.dry_run,
                caller=middleware.caller(),
                request_id=middleware.request_id(),
            )
            return accepted_job(job)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    @routes.get("/<classifier_id>/retraining/runs")
    def runs(classifier_id: str) -> Response:
        found, has_more = retraining.runs(
            account(),
            classifier_id,
            after=pagination.after(is_run_id, what="run"),
            limit=pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED),
        )
        return reply(render_runs(found, has_more=has_more, root=middleware.root()))

    @routes.get("/<classifier_id>/retraining/runs/<run_id>")
    def one(classifier_id: str, run_id: str) -> Response:
        return of_run(retraining.run(account(), classifier_id, run_id))

    @routes.get("/<classifier_id>/retraining/runs/<run_id>/report")
    def report(classifier_id: str, run_id: str) -> Response:
        found = reports.get(account(), classifier_id, run_id)
        if request.accept_mimetypes.best_match([_HTML, _JSON], _HTML) == _JSON:
            return reply(render_report(found, root=middleware.root()), headers=_VARY)
        headers = {"Content-Security-Policy": page.page_policy(), **_VARY}
        return Response(page.html(found), 200, headers, content_type=f"{_HTML}; charset=utf-8")

    @routes.get("/<classifier_id>/retraining/runs/<run_id>/plots/<plot>")
    def plot(classifier_id: str, run_id: str, plot: str) -> Response:
        plots = plots_of(reports.get(account(), classifier_id, run_id))
        drawn = plots.get(plot.removesuffix(".svg"))
        if drawn is None or not plot.endswith(".svg"):
            drawable = ", ".join(f"{each}.svg" for each in plots) or "none before it has compared"
            raise NotFound(f"the run has no such plot; its plots are {drawable}")
        headers = {"Content-Security-Policy": page.svg_policy()}
        return Response(page.svg_file(drawn), 200, headers, content_type=_SVG)

    @routes.post("/<classifier_id>/retraining/runs/<run_id>/promote")
    def promote(classifier_id: str, run_id: str) -> Response:
        return of_run(retraining.decide(account(), classifier_id, run_id, promoted=True))

    @routes.post("/<classifier_id>/retraining/runs/<run_id>/reject")
    def reject(classifier_id: str, run_id: str) -> Response:
        return of_run(retraining.decide(account(), classifier_id, run_id, promoted=False))

    @routes.post("/<classifier_id>/retraining/rollback")
    def rollback(classifier_id: str) -> Response:
        def run(_: str | None) -> Response:
            return reply(render_rollback(*retraining.roll_back(account(), classifier_id)))

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    def account() -> str:
        return middleware.caller().account

    def of_run(run: Run) -> Response:
        return reply(render_run(run, root=middleware.root()))

    def shown(record: RetrainingRecord) -> Response:
        _, state = retraining.get(record.account, record.classifier_id)
        return reply(render_retraining(record, state))

    return routes
