"""/v1/classifiers: list, get, change, delete; versions and rollback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.openapi.model import (
    CLASSIFIER_ID,
    IDEMPOTENCY_KEY,
    PREFER,
    REPLAYED,
    WAITED,
    Operation,
)
from api.schemas import body
from api.schemas.classifier import (
    ClassifierAnswer,
    ClassifierChangeBody,
    ClassifierList,
    DeletedObject,
    RollbackBody,
    VersionList,
    parse_change,
    parse_rollback,
    render_classifier,
    render_row,
    render_versions,
)
from api.schemas.job import JobObject
from api.server.route_limits import small_body_bytes
from shared.classifier_record import Classifier, Version
from shared.classifier_requests import RelabelRequest
from shared.errors import NotFound
from shared.relabelling import Relabelling
from shared.training_results import VersionReport

_READERS = 8  # of reports: one after the other, 20 take 0.2 s on S3

_operation = partial(Operation, tag="Classifiers", scope="train")

OPERATIONS = (
    _operation(
        method="get",
        path="/v1/classifiers",
        name="listClassifiers",
        summary="Your classifiers, newest first.",
        answers={200: ClassifierList},
    ),
    _operation(
        method="post",
        path="/v1/classifiers",
        name="listClassifiersToo",
        summary="The same; what is sent is not looked at.",
        answers={200: ClassifierList},
        problems=(413, 415),
    ),
    _operation(
        method="get",
        path="/v1/classifiers/{classifier_id}",
        name="getClassifier",
        summary="All about a version of a classifier; the latest where none is named.",
        parameters=(CLASSIFIER_ID,),
        answers={200: ClassifierAnswer},
    ),
    _operation(
        method="patch",
        path="/v1/classifiers/{classifier_id}",
        name="changeClassifier",
        summary="Change its name, description, access, aliases or labels, or whether examples are "
        "kept.",
        about="A change of labels is a job that makes a new version; `Prefer` is for it alone.",
        body=ClassifierChangeBody,
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: ClassifierAnswer, 202: JobObject},
        headers=WAITED,
        problems=(400,),
        example={"description": "Routes the mail of the support desk."},
    ),
    _operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}",
        name="deleteClassifier",
        summary="Delete a classifier, with its versions and the examples it kept; "
        "jobs that were accepted before still classify with it.",
        parameters=(CLASSIFIER_ID,),
        answers={200: DeletedObject},
    ),
    _operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/versions",
        name="listVersions",
        summary="The versions that are kept, newest first.",
        parameters=(CLASSIFIER_ID,),
        answers={200: VersionList},
    ),
    _operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rollback",
        name="rollBackClassifier",
        summary="Make a new version that is an old one again.",
        body=RollbackBody,
        parameters=(CLASSIFIER_ID, IDEMPOTENCY_KEY),
        answers={200: ClassifierAnswer},
        headers=REPLAYED,
        example={"version": 1},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    classifiers, idempotency = services.classifiers, services.idempotency
    durable, slots, limits = services.durable, services.slots, services.submit.limits
    max_body_bytes = small_body_bytes(services.settings)
    routes = Blueprint("classifiers", __name__)

    @routes.get("/v1/classifiers")
    def listing() -> Response:
        found = classifiers.listing(middleware.caller().account)
        return reply(
            [render_row(each, used_number=used.number, used_at=used.at) for each, used in found]
        )

    @routes.post("/v1/classifiers")
    def listing_too() -> Response:
        json_body.data(max_bytes=max_body_bytes)  # clients send {"action": "list"}, or nothing
        return listing()

    @routes.get("/v1/classifiers/<classifier_id>")
    def one(classifier_id: str) -> Response:
        return shown(*classifiers.own(middleware.caller().account, classifier_id))

    @routes.patch("/v1/classifiers/<classifier_id>")
    def change(classifier_id: str) -> Response:
        data = json_body.data(max_bytes=max_body_bytes)
        parsed = parse_change(body.parse(data))
        if "labels" in parsed.given:
            return relabelled(classifier_id, parsed.labels, data)

        def run(_: str | None) -> Response:
            record = classifiers.change(middleware.caller().account, classifier_id, parsed)
            return shown(record, record.latest)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    def relabelled(classifier_id: str, labels: dict[str, str | None], data: bytes) -> Response:
        def ask() -> RelabelRequest:
            record = classifiers.whole(middleware.caller().account, classifier_id)
            limits.check_new_names(labels)
            return RelabelRequest(
                model=record.latest.model,
                classifier_id=record.id,
                labels=Relabelling.of(record.labels, labels).changes,
            )

        with slots.one():
            response = durable.call(data, ask)
        if response.status_code != HTTPStatus.OK:
            return response
        made = response.get_json()
        try:
            record, version = classifiers.own(
                middleware.caller().account, f"{made['classifier_id']}@v{made['version']}"
            )
        except NotFound:  # a replay may come when the version is no longer kept
            return response
        response.set_data(shown(record, version).get_data())
        return response

    @routes.delete("/v1/classifiers/<classifier_id>")
    def delete(classifier_id: str) -> Response:
        classifiers.delete(middleware.caller().account, classifier_id)
        return reply({"message": "the classifier is deleted"})

    @routes.get("/v1/classifiers/<classifier_id>/versions")
    def versions(classifier_id: str) -> Response:
        return reply(render_versions(classifiers.whole(middleware.caller().account, classifier_id)))

    @routes.post("/v1/classifiers/<classifier_id>/rollback")
    def rollback(classifier_id: str) -> Response:
        data = json_body.data(max_bytes=max_body_bytes)
        parsed = parse_rollback(body.parse(data) if data.strip() else {})

        def run(_: str | None) -> Response:
            record = classifiers.roll_back(
                middleware.caller().account,
                classifier_id,
                version=parsed.version,
                alias=parsed.alias,
            )
            return shown(record, record.latest)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    def shown(record: Classifier, version: Version) -> Response:
        report = classifiers.records.report(record, version.file)
        used = classifiers.used(record)
        return reply(
            render_classifier(
                record,
                version,
                report,
                before=reports_before(record, version) if report.progressive else (),
                used_number=used.number,
                used_at=used.at,
            )
        )

    def reports_before(record: Classifier, version: Version) -> list[VersionReport]:
        """Of the versions that led to one, in order, without those that went meanwhile."""
        files = dict.fromkeys(each.file for each in record.led_to(version))
        files.pop(version.file)  # a rollback has the file of its origin
        with ThreadPoolExecutor(_READERS, thread_name_prefix="reports") as readers:
            found = list(readers.map(lambda file: report_of(record, file), files))
        return [report for report in found if report is not None]

    def report_of(record: Classifier, file: str) -> VersionReport | None:
        try:
            return classifiers.records.report(record, file)
        except NotFound:
            return None

    return routes
