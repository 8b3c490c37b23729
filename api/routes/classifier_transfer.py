"""Transfer of classifiers: GET …/export and POST /v1/classifiers/import."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import BinaryIO, cast

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.download import download
from api.http.multipart import MAX_FORM_BYTES, MULTIPART, FormFile
from api.http.stored_form_file import stored_upload
from api.openapi import examples
from api.openapi.model import (
    CLASSIFIER_ID,
    DOWNLOAD_HEADERS,
    IDEMPOTENCY_KEY,
    IF_RANGE,
    PREFER,
    RANGE,
    WAITED,
    Operation,
    QueryFields,
)
from api.schemas import body
from api.schemas.body_stream import LargeBody
from api.schemas.classifier_transfer import (
    MAX_HEADER_BYTES,
    MEDIA_TYPE,
    FileHeader,
    ImportFields,
    ImportFileBody,
    filename,
    parse_fields,
    read_header,
    size_of,
)
from api.schemas.job import JobObject
from shared import ids, object_keys
from shared.classifier_record import Classifier, Version
from shared.classifier_requests import ImportRequest
from shared.dialects.training import TrainAnswer
from shared.errors import (
    ModelNotFound,
    NotFound,
    ObjectMissing,
    PigeonholeError,
)
from shared.validation import refuse, shown

_operation = partial(Operation, tag="Classifiers", scope="train")

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/classifiers/import",
        name="importClassifier",
        summary="Make a classifier from an exported file, sent as the body or in a form.",
        about="Where the body is nothing but the file, the fields of the form are in the query.",
        uploads={MULTIPART: ImportFileBody, MEDIA_TYPE: None},
        query_fields=QueryFields(shape=ImportFields),
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=WAITED,
        problems=(400,),
        example={"file": "the bytes that an export gave", "name": f"{examples.CLASSIFIER}-2"},
    ),
    _operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/export",
        name="exportClassifier",
        summary="A version as a file: safetensors that says what it is.",
        parameters=(CLASSIFIER_ID, RANGE, IF_RANGE),
        answers={200: MEDIA_TYPE, 206: MEDIA_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(412, 416),
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    store, classifiers, catalogue = services.store, services.classifiers, services.catalogue
    limits, durable, slots = services.submit.limits, services.durable, services.slots
    max_import_bytes = services.settings.max_import_bytes
    routes = Blueprint("weights", __name__)

    @routes.get("/v1/classifiers/<classifier_id>/export")
    def export(classifier_id: str) -> Response:
        record, version = classifiers.own(middleware.caller().account, classifier_id)
        with weights_of(record, version, start=0, end=MAX_HEADER_BYTES) as stream:
            size = size_of(stream)
        with ExitStack() as held:
            held.enter_context(services.downloads.one())
            return download(
                partial(weights_of, record, version),
                held,
                size=size,
                tag=f"{record.id}-{version.file}",
                disposition=f'attachment; filename="{filename(record, version)}"',
                mimetype=MEDIA_TYPE,
            )

    def weights_of(record: Classifier, version: Version, *, start: int, end: int) -> BinaryIO:
        """The file of a version, open from `start` to `end`.

        Raises:
            NotFound: It went while it was looked up.
        """
        try:
            name = object_keys.weights(record.account, record.id, version.file)
            return store.open(name, start=start, end=end)
        except ObjectMissing:
            raise NotFound("the version is no longer kept") from None

    @routes.post("/v1/classifiers/import")
    def load() -> Response:
        with slots.one():
            as_form = request.mimetype == MULTIPART
            most = max_import_bytes + (MAX_FORM_BYTES if as_form else 0)
            data = json_body.stream(max_bytes=most)
            try:
                if not as_form:
                    return imported(data)
                # The form knows whether the file is whole, the body within it how large it may be.
                form = FormFile(data, content_type=request.content_type or "", max_bytes=most)
                form.find()
                inner = cast("BinaryIO", form)
                return imported(LargeBody(inner, length=None, max_bytes=max_import_bytes), form)
            except PigeonholeError:
                data.drain()
                raise

    def imported(file: LargeBody, form: FormFile | None = None) -> Response:
        account = middleware.caller().account
        header = read_header(file)
        limits.check_classifier_labels(len(header.labels))
        understood(header, form)  # as much as stands before the file
        stream, now = cast("BinaryIO", file), durable.submit.clock()
        with stored_upload(store, stream, account=account, now=now) as upload:
            if form is not None:
                form.finish()
            fields, model = understood(header, form)

            def ask() -> ImportRequest:
                classifiers.check_new(account, fields.new)
                upload.taken = True
                return ImportRequest(
                    model=model,
                    classifier_id=ids.classifier_id(),
                    create=fields.new,
                    upload=upload.place,
                )

            return durable.call(
                body.dump(fields) + file.sha256,
                ask,
                job_id=upload.job_id,
                metadata=fields.metadata,
            )

    def understood(header: FileHeader, form: FormFile | None) -> tuple[ImportFields, str]:
        """What stands beside the file so far, in the query and in the form; and its model."""
        fields = parse_fields(request.args.to_dict(), {} if form is None else form.fields)
        return fields, model_of(fields, header)

    def model_of(fields: ImportFields, header: FileHeader) -> str:
        """The name of the file's model.

        Raises:
            ModelNotFound: It is not offered here.
            InvalidRequest: It is another than the one that is wanted.
        """
        wanted = None if fields.model is None else catalogue.find(fields.model).name
        try:
            model = catalogue.find(header.model).name
        except ModelNotFound as exc:
            hint = exc.fields[0].message
            refuse("model", f"the file is of {shown(header.model)!r}: {hint}", ModelNotFound)
        if wanted not in (None, model):
            refuse("model", f"the file is of another model: {model}, not {wanted}")
        return model

    return routes
