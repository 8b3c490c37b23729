"""/v1/classifiers: the caller's own, one of them, its versions, its change, its end."""

from __future__ import annotations

from flask import Blueprint, Response

from api import door
from api.classifiers import Classifiers
from api.idempotency import Idempotency
from api.routes import sent
from api.routes.once import MARGIN_S, once
from api.routes.reply import reply
from api.wire import body
from api.wire.classifier import (
    parse_change,
    parse_rollback,
    render_classifier,
    render_row,
    render_versions,
)
from shared.classifiers import Classifier, Version


def blueprint(
    *, classifiers: Classifiers, idempotency: Idempotency, max_body_bytes: int
) -> Blueprint:
    """The routes."""
    routes = Blueprint("classifiers", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("train")

    @routes.get("/v1/classifiers")
    def listing() -> Response:
        found = classifiers.listing(door.caller().account)
        return reply(
            [render_row(each, used_number=used.number, used_at=used.at) for each, used in found]
        )

    @routes.post("/v1/classifiers")
    def listing_too() -> Response:
        sent.data(max_bytes=max_body_bytes)  # clients send {"action": "list"}, or nothing
        return listing()

    @routes.get("/v1/classifiers/<classifier_id>")
    def one(classifier_id: str) -> Response:
        return shown(*classifiers.own(door.caller().account, classifier_id))

    @routes.patch("/v1/classifiers/<classifier_id>")
    def change(classifier_id: str) -> Response:
        said = parse_change(body.parse(sent.data(max_bytes=max_body_bytes)))
        record = classifiers.change(door.caller().account, classifier_id, said)
        return shown(record, record.latest)

    @routes.delete("/v1/classifiers/<classifier_id>")
    def delete(classifier_id: str) -> Response:
        classifiers.delete(door.caller().account, classifier_id)
        return reply({"message": "the classifier is deleted"})

    @routes.get("/v1/classifiers/<classifier_id>/versions")
    def versions(classifier_id: str) -> Response:
        return reply(render_versions(classifiers.whole(door.caller().account, classifier_id)))

    @routes.post("/v1/classifiers/<classifier_id>/rollback")
    def rollback(classifier_id: str) -> Response:
        data = sent.data(max_bytes=max_body_bytes)
        said = parse_rollback(body.parse(data) if data.strip() else {})

        def run(_: str | None) -> Response:
            record = classifiers.roll_back(
                door.caller().account, classifier_id, version=said.version, alias=said.alias
            )
            return shown(record, record.latest)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    def shown(record: Classifier, version: Version) -> Response:
        report = classifiers.records.report(record, version.file)
        used = classifiers.used(record)
        return reply(
            render_classifier(record, version, report, used_number=used.number, used_at=used.at)
        )

    return routes
