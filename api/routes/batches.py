"""/v1/batches: create, retry, get, list and cancel batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware, pagination
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.openapi import examples
from api.openapi.model import (
    BATCH_ID,
    IDEMPOTENCY_KEY,
    METADATA,
    PREFER,
    REPLAYED,
    WAITED,
    Operation,
    Parameter,
    after,
    choice,
    limit,
)
from api.routes import filters
from api.schemas import body
from api.schemas.job import JobObject
from api.schemas.openai.batch import STATUSES, BatchList, BatchObject, render_batch
from api.schemas.openai.dry_run import DryRunAnswer
from api.schemas.openai.file import render_page
from api.schemas.openai.new_batch import BatchBody, parse
from api.schemas.openai.retry import DEFAULT as DEFAULT_ROWS
from api.schemas.openai.retry import RetryBody
from api.schemas.openai.retry import parse as parse_retry
from api.server.route_limits import batch_body_bytes
from api.services.idempotency import StoredAnswer, canonical, unpack
from shared import ids
from shared.batches import TRAIN, BatchRequest, DryRunRequest
from shared.dialects import openai
from shared.errors import NotFound
from shared.types import JobKind
from shared.validation import refuse

_DRY_RUN = "dry_run"
_LOOKED_AT_S = 86400.0  # how long a batch that took all its time can still be looked at
_DEFAULT_LIMIT = 20
_MAX_LISTED = 100

_DRY_RUN_PARAMETER = Parameter(
    name="dry_run",
    where="query",
    about="`true`: the file is judged as for a batch, and what it would cost is estimated. Nothing "
    "is classified, kept or charged. `Prefer` is for this.",
    schema={"type": "string", "enum": ["true", "false"], "default": "false"},
)
_operation = partial(Operation, tag="Batches", scope="classify", dialect=openai)

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/batches",
        name="createBatch",
        summary="Work through a file: one question for all its rows, or a request in each line.",
        body=BatchBody,
        parameters=(_DRY_RUN_PARAMETER, PREFER, IDEMPOTENCY_KEY),
        answers={200: (BatchObject, DryRunAnswer), 202: JobObject},
        headers=WAITED,
        problems=(404, 504),
        example={
            "input_file_id": examples.FILE_ID,
            "classify": {"labels": ["delivery", "billing"]},
            "output_format": "parquet",
        },
    ),
    _operation(
        method="get",
        path="/v1/batches",
        name="listBatches",
        summary="Your batches, newest first.",
        parameters=(
            after("batch_"),
            limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED),
            choice("kind", "`batch`, as in the list of jobs.", [JobKind.BATCH]),
            choice("status", "Only batches of this status.", STATUSES),
            METADATA,
        ),
        about="With filters a page may have fewer batches than `limit`, or none, as that of jobs.",
        answers={200: BatchList},
    ),
    _operation(
        method="get",
        path="/v1/batches/{batch_id}",
        name="getBatch",
        summary="A batch as it stands.",
        parameters=(BATCH_ID,),
        answers={200: BatchObject},
    ),
    _operation(
        method="post",
        path="/v1/batches/{batch_id}/cancel",
        name="cancelBatch",
        summary="End a batch; what is finished is kept.",
        parameters=(BATCH_ID,),
        answers={200: BatchObject},
        problems=(409,),
    ),
    _operation(
        method="post",
        path="/v1/batches/{batch_id}/retry",
        name="retryBatch",
        summary="Run again what did not come out of a batch that has ended, as a new batch.",
        about="Rows that failed for a reason that no retry cures are left out, unless `rows` is "
        "`all`. Where no row is left it is 409.",
        body=RetryBody,
        body_required=False,
        parameters=(BATCH_ID, IDEMPOTENCY_KEY),
        answers={200: BatchObject},
        headers=REPLAYED,
        example={"rows": "all"},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    batches, durable, idempotency = services.batches, services.durable, services.idempotency
    max_body_bytes, kept_s = (
        batch_body_bytes(services.settings),
        services.settings.result_retention_s,
    )
    max_window_s = max(kept_s - _LOOKED_AT_S, kept_s / 2)
    routes = Blueprint("batches", __name__)

    def made(payload: bytes, ask: Callable[[], BatchRequest]) -> Response:
        """A new batch, or the one that the same call made before."""
        caller = middleware.caller()

        def run(job_id: str | None) -> Response:
            kept = batches.jobs.accepted(caller.account, job_id) if job_id else None
            job_request = kept if isinstance(kept, BatchRequest) else ask()
            if job_request.endpoint == TRAIN:
                caller.require("train")
            standing = batches.create(
                job_request, caller=caller, request_id=middleware.request_id(), job_id=job_id
            )
            return reply(render_batch(standing))

        def as_it_stands(stored: StoredAnswer) -> Response | None:
            if stored.status != HTTPStatus.OK:
                return None
            try:
                made_before = json.loads(unpack(stored))["id"]
                return reply(render_batch(batches.get(caller.account, made_before)))
            except NotFound:  # its time is over
                return None

        return once(idempotency, payload, run, reserve_s=MARGIN_S, as_it_stands=as_it_stands)

    def tried(payload: bytes, parsed: BatchBody) -> Response:
        """What would become of a batch; nothing of it stays."""

        def ask() -> DryRunRequest:
            job_request = batches.batch_request(middleware.caller().account, parsed)
            return DryRunRequest(model=job_request.model, batch=job_request)

        return durable.call(b"dry_run\n" + canonical(payload), ask, fleeting=True)

    @routes.post("/v1/batches")
    def create() -> Response:
        dry = request.args.get(_DRY_RUN, "false")
        if dry not in {"true", "false"}:
            refuse(_DRY_RUN, "must be true or false")
        data = json_body.data(max_bytes=max_body_bytes)
        parsed = parse(body.parse(data), max_window_s=max_window_s)
        if dry == "true":
            return tried(data, parsed)
        return made(data, lambda: batches.batch_request(middleware.caller().account, parsed))

    @routes.post("/v1/batches/<batch_id>/retry")
    def retry(batch_id: str) -> Response:
        rows = parse_retry(json_body.data(max_bytes=max_body_bytes))
        payload = b"" if rows == DEFAULT_ROWS else rows.encode()
        return made(payload, lambda: batches.again(middleware.caller().account, batch_id, rows))

    @routes.get("/v1/batches")
    def listing() -> Response:
        after = pagination.after(lambda parsed: ids.is_job_id(ids.job_id_of(parsed)), what="batch")
        limit = pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)
        filters.one_of("kind", [JobKind.BATCH])
        listed, found = batches.list(
            middleware.caller().account,
            after=after,
            limit=limit,
            status=filters.one_of("status", STATUSES),
            metadata=filters.metadata(),
        )
        last = ids.batch_id_of(found.last_id) if found.last_id else None
        objects = [render_batch(each) for each in listed]
        return reply(render_page(objects, has_more=found.has_more, last_id=last))

    @routes.get("/v1/batches/<batch_id>")
    def one(batch_id: str) -> Response:
        return reply(render_batch(batches.get(middleware.caller().account, batch_id)))

    @routes.post("/v1/batches/<batch_id>/cancel")
    def cancel(batch_id: str) -> Response:
        return reply(render_batch(batches.cancel(middleware.caller().account, batch_id)))

    return routes
