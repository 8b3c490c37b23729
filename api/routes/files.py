"""/v1/files: upload, list, download and delete files. Contents are streamed."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware, pagination
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.http.multipart import MAX_FORM_BYTES, MULTIPART, FormFile, too_large
from api.http.streaming_response import FILE_TYPE, streamed_file
from api.openapi import examples
from api.openapi.model import (
    DOWNLOAD_HEADERS,
    IDEMPOTENCY_KEY,
    IF_RANGE,
    RANGE,
    REPLAYED,
    TEXT,
    Operation,
    Parameter,
    after,
    limit,
    path_id,
)
from api.schemas import body
from api.schemas.openai.expiry import kept_s
from api.schemas.openai.file import (
    FileBody,
    FileDeleted,
    FileList,
    FileObject,
    check_purpose,
    filename,
    parse_expiry,
    render_deleted,
    render_file,
    render_page,
)
from shared import ids
from shared.batches import StoredFile
from shared.dialects import openai
from shared.errors import PigeonholeError
from shared.validation import refuse

_DEFAULT_LIMIT = 100
_MAX_LIMIT = 10_000  # what clients of the OpenAI API may ask for
_MAX_LISTED = 1000  # what they get at once: each is read from the store

_FILE_ID = path_id("file_id", "The `id` of a file.")
_PURPOSE = Parameter(
    name="purpose", where="query", about="Only files of this purpose.", schema=TEXT
)
_ORDER = Parameter(
    name="order",
    where="query",
    about="By age: the newest or the oldest first.",
    schema={"type": "string", "enum": ["asc", "desc"], "default": "desc"},
)
_operation = partial(Operation, tag="Files", scope="classify", dialect=openai)

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/files",
        name="sendFile",
        summary="Send a file for a batch: JSONL, CSV or Parquet, also gzip or zstd.",
        uploads={MULTIPART: FileBody},
        parameters=(IDEMPOTENCY_KEY,),
        answers={200: FileObject},
        headers=REPLAYED,
        example={"file": examples.ROWS, "purpose": "batch"},
    ),
    _operation(
        method="get",
        path="/v1/files",
        name="listFiles",
        summary="Your files, those that batches have made among them.",
        parameters=(
            after("file-"),
            limit(default=_DEFAULT_LIMIT, most=_MAX_LIMIT),
            _PURPOSE,
            _ORDER,
        ),
        answers={200: FileList},
    ),
    _operation(
        method="get",
        path="/v1/files/{file_id}",
        name="getFile",
        summary="What is known of a file.",
        parameters=(_FILE_ID,),
        answers={200: FileObject},
    ),
    _operation(
        method="get",
        path="/v1/files/{file_id}/content",
        name="getFileContent",
        summary="The bytes of a file.",
        parameters=(_FILE_ID, RANGE, IF_RANGE),
        answers={200: FILE_TYPE, 206: FILE_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(412, 416),
    ),
    _operation(
        method="delete",
        path="/v1/files/{file_id}",
        name="deleteFile",
        summary="Delete a file; jobs that were accepted before still read it.",
        parameters=(_FILE_ID,),
        answers={200: FileDeleted},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    files, idempotency, slots = services.files, services.idempotency, services.slots
    max_file_bytes, keep_s = services.settings.max_file_bytes, services.settings.file_retention_s
    routes = Blueprint("files", __name__)

    @routes.post("/v1/files")
    def upload() -> Response:
        with slots.one():
            stream = json_body.stream(max_bytes=max_file_bytes + MAX_FORM_BYTES)
            try:
                if (request.content_length or 0) > max_file_bytes + MAX_FORM_BYTES:
                    too_large(max_file_bytes)
                form = FormFile(
                    stream, content_type=request.content_type or "", max_bytes=max_file_bytes
                )
                return uploaded(form)
            except PigeonholeError:
                stream.drain()
                raise

    def uploaded(form: FormFile) -> Response:
        account, kept = middleware.caller().account, False
        form.find()
        if "purpose" in form.fields:
            check_purpose(form.fields)
        file_id = files.write(account, form, filename=form.name)

        def keep(_: str | None) -> Response:
            nonlocal kept
            now = files.clock()
            file = StoredFile(
                id=file_id,
                purpose=form.fields["purpose"],
                filename=filename(form.name),
                bytes=form.size,
                created_at=now,
                expires_at=now + stays_s,
            )
            files.keep(account, file)
            kept = True
            return reply(render_file(file))

        try:
            form.finish()
            check_purpose(form.fields)
            stays_s = kept_s(parse_expiry(form.fields), "expires_after", max_s=keep_s)
            same = body.dump([form.name, sorted(form.fields.items())]) + form.sha256
            return once(idempotency, same, keep, reserve_s=MARGIN_S)
        finally:
            if not kept:  # it was refused, or is the same call again
                files.discard(account, file_id)

    @routes.get("/v1/files")
    def listing() -> Response:
        order = request.args.get("order", "desc")
        if order not in {"asc", "desc"}:
            refuse("order", "must be asc or desc")
        listed, has_more = files.list(
            middleware.caller().account,
            after=pagination.after(ids.is_file_id, what="file"),
            limit=min(_MAX_LISTED, pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LIMIT)),
            purpose=request.args.get("purpose"),
            newest_first=order == "desc",
        )
        return reply(render_page([render_file(file) for file in listed], has_more=has_more))

    @routes.get("/v1/files/<file_id>")
    def one(file_id: str) -> Response:
        return reply(render_file(files.get(middleware.caller().account, file_id)))

    @routes.get("/v1/files/<file_id>/content")
    def content(file_id: str) -> Response:
        with ExitStack() as held:
            held.enter_context(services.downloads.one())
            return streamed_file(files, middleware.caller().account, file_id, held)

    @routes.delete("/v1/files/<file_id>")
    def delete(file_id: str) -> Response:
        files.delete(middleware.caller().account, file_id)
        return reply(render_deleted(file_id))

    return routes
