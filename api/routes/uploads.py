"""/v1/uploads: multipart uploads, through the API or by presigned URLs of the object store."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.json_response import reply
from api.http.multipart import MAX_FORM_BYTES, MULTIPART, FormFile
from api.openapi import examples
from api.openapi.model import Operation, path_id
from api.schemas import body
from api.schemas.openai.expiry import kept_s
from api.schemas.openai.file import filename
from api.schemas.openai.upload import (
    MAX_PART_BYTES,
    CompleteUploadBody,
    NewUploadBody,
    PartUrlsBody,
    UploadObject,
    UploadPart,
    UploadPartBody,
    UploadPartUrls,
    parse_complete,
    parse_new,
    parse_urls,
    render_part,
    render_upload,
    render_urls,
)
from api.server.route_limits import small_body_bytes
from shared.batches import MultipartUpload
from shared.dialects import openai
from shared.errors import PigeonholeError

_UPLOAD_ID = path_id("upload_id", "The `id` of an upload.")
_operation = partial(Operation, tag="Uploads", scope="classify", dialect=openai)

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/uploads",
        name="createUpload",
        summary="Begin a file that is sent in parts; it must be completed within a day.",
        body=NewUploadBody,
        answers={200: UploadObject},
        example={"bytes": len(examples.ROWS), "filename": "mail.csv", "purpose": "batch"},
    ),
    _operation(
        method="post",
        path="/v1/uploads/{upload_id}/parts",
        name="sendUploadPart",
        summary="Send a part; several may be sent at once.",
        uploads={MULTIPART: UploadPartBody},
        parameters=(_UPLOAD_ID,),
        answers={200: UploadPart},
        problems=(409,),
        example={"data": examples.ROWS},
    ),
    _operation(
        method="post",
        path="/v1/uploads/{upload_id}/part_urls",
        name="createUploadPartUrls",
        summary="URLs that take parts straight to the object store, where that is on S3.",
        body=PartUrlsBody,
        parameters=(_UPLOAD_ID,),
        answers={200: UploadPartUrls},
        problems=(409,),
        example={"count": 1},
    ),
    _operation(
        method="post",
        path="/v1/uploads/{upload_id}/complete",
        name="completeUpload",
        summary="Make the file of its parts.",
        body=CompleteUploadBody,
        parameters=(_UPLOAD_ID,),
        answers={200: UploadObject},
        problems=(409,),
        example={"part_ids": [examples.PART_ID]},
    ),
    _operation(
        method="post",
        path="/v1/uploads/{upload_id}/cancel",
        name="cancelUpload",
        summary="End an upload without a file.",
        parameters=(_UPLOAD_ID,),
        answers={200: UploadObject},
        problems=(409,),
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    uploads, slots = services.uploads, services.slots
    max_body_bytes = small_body_bytes(services.settings)
    max_file_bytes, keep_s = services.settings.max_file_bytes, services.settings.file_retention_s
    routes = Blueprint("uploads", __name__)

    @routes.post("/v1/uploads")
    def create() -> Response:
        parsed = parse_new(
            body.parse(json_body.data(max_bytes=max_body_bytes)), max_file_bytes=max_file_bytes
        )
        upload = uploads.create(
            middleware.caller().account,
            purpose=parsed.purpose,
            filename=filename(parsed.filename),
            size=parsed.bytes,
            file_retention_s=kept_s(parsed.expires_after, "expires_after", max_s=keep_s),
        )
        return reply(render_upload(upload))

    @routes.post("/v1/uploads/<upload_id>/parts")
    def add(upload_id: str) -> Response:
        with slots.one():
            parsed = json_body.stream(max_bytes=MAX_PART_BYTES + MAX_FORM_BYTES)
            try:
                upload = uploads.pending(middleware.caller().account, upload_id)
                form = FormFile(
                    parsed,
                    content_type=request.content_type or "",
                    max_bytes=min(MAX_PART_BYTES, upload.bytes),
                    part="data",
                )
                return added(upload, form)
            except PigeonholeError:
                parsed.drain()
                raise

    def added(upload: MultipartUpload, form: FormFile) -> Response:
        account, whole = middleware.caller().account, False
        form.find()
        part_id = uploads.add(account, upload, form)
        try:
            form.finish()
            whole = True
        finally:
            if not whole:
                uploads.discard(account, upload, part_id)
        return reply(render_part(upload, part_id, now=uploads.clock()))

    @routes.post("/v1/uploads/<upload_id>/part_urls")
    def part_urls(upload_id: str) -> Response:
        parsed = parse_urls(body.parse(json_body.data(max_bytes=max_body_bytes)))
        account = middleware.caller().account
        upload = uploads.pending(account, upload_id)
        urls, expires_s = uploads.part_urls(account, upload, parsed.count)
        return reply(render_urls(upload, urls, now=uploads.clock(), expires_s=expires_s))

    @routes.post("/v1/uploads/<upload_id>/complete")
    def complete(upload_id: str) -> Response:
        parsed = parse_complete(body.parse(json_body.data(max_bytes=max_body_bytes)))
        with slots.one():
            upload, file = uploads.complete(
                middleware.caller().account, upload_id, parsed.part_ids, md5=parsed.md5
            )
        return reply(render_upload(upload, file))

    @routes.post("/v1/uploads/<upload_id>/cancel")
    def cancel(upload_id: str) -> Response:
        return reply(render_upload(uploads.cancel(middleware.caller().account, upload_id)))

    return routes
