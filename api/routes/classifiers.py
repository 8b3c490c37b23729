"""/v1/classifiers: the caller's own, one of them, its versions, its change, its end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from flask import Blueprint, Response

from api.http import json_body, middleware
from api.http.async_response import AsyncResponder
from api.http.concurrency import ConcurrencyLimit
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.schemas import body
from api.schemas.classifier import (
    parse_change,
    parse_rollback,
    render_classifier,
    render_row,
    render_versions,
)
from api.services.classifiers import ClassifierService
from api.services.idempotency import Idempotency
from shared.classifier_record import Classifier, Version
from shared.errors import NotFound
from shared.limits import Limits
from shared.relabelling import Relabelling
from shared.types import RelabelRequest, VersionReport

_READERS = 8  # of reports: one after the other, 20 take 0.2 s on S3


def blueprint(
    *,
    classifiers: ClassifierService,
    idempotency: Idempotency,
    durable: AsyncResponder,
    slots: ConcurrencyLimit,
    limits: Limits,
    max_body_bytes: int,
) -> Blueprint:
    """The routes."""
    routes = Blueprint("classifiers", __name__)

    @routes.before_request
    def check_scope() -> None:
        middleware.caller().require("train")

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
        said = parse_change(body.parse(data))
        if "labels" in said.given:
            return relabelled(classifier_id, said.labels, data)

        def run(_: str | None) -> Response:
            record = classifiers.change(middleware.caller().account, classifier_id, said)
            return shown(record, record.latest)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    def relabelled(classifier_id: str, labels: dict[str, str | None], data: bytes) -> Response:
        def ask() -> RelabelRequest:
            record = classifiers.whole(middleware.caller().account, classifier_id)
            limits.check_names(name for name in labels.values() if name is not None)
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
        said = parse_rollback(body.parse(data) if data.strip() else {})

        def run(_: str | None) -> Response:
            record = classifiers.roll_back(
                middleware.caller().account, classifier_id, version=said.version, alias=said.alias
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
