"""The Flask application: the services of the main, and the routes of each resource."""

from __future__ import annotations

from flask import Flask

from api.dependencies import Services
from api.http import compression, cors, error_handlers, middleware, request_spans
from api.openapi import operation_checks
from api.pages import site
from api.routes import (
    account,
    batch_streams,
    batches,
    classifier_examples,
    classifier_transfer,
    classifiers,
    classify,
    classify_texts,
    docs,
    drift,
    evaluate,
    feedback,
    files,
    health,
    jobs,
    keys,
    metrics,
    models,
    retraining,
    text_batches,
    train,
    uploads,
    usage,
    webhooks,
)
from api.server.trusted_proxies import ForwardedRequests, TrustedProxies
from shared.cors_origins import origins_of
from shared.url_policy import networks_of

RESOURCES = (
    classify,
    classify_texts,
    train,
    classifiers,
    classifier_examples,
    evaluate,
    classifier_transfer,
    feedback,
    retraining,
    drift,
    jobs,
    files,
    uploads,
    batches,
    batch_streams,
    text_batches,
    webhooks,
    usage,
    models,
    account,
    keys,
    health,
    metrics,
)
"""Modules with `blueprint(services)` and the `OPERATIONS` of its routes."""

OPERATIONS = tuple(operation for resource in RESOURCES for operation in resource.OPERATIONS)
"""Every operation of the API, in the order of the OpenAPI document."""


def create_app(services: Services) -> Flask:
    """The application; it holds no state but its counts and its slots."""
    settings = services.settings
    app = Flask("pigeonhole", static_folder=None)
    app.url_map.merge_slashes = False
    app.wsgi_app = ForwardedRequests(  # type: ignore[assignment,method-assign]
        app.wsgi_app,
        proxies=TrustedProxies(networks=networks_of(settings.trusted_proxies)),
        path_prefix=settings.path_prefix,
    )
    request_spans.install(app)
    middleware.install(
        app,
        authenticator=services.authenticator,
        metrics=services.metrics,
        limits=services.submit.quotas,
    )
    compression.install(app)
    cors.install(app, origins=origins_of(settings.allowed_origins))
    operation_checks.install(app, OPERATIONS)
    error_handlers.install(app)
    docs.install(app, OPERATIONS)
    app.register_blueprint(site.blueprint())
    for resource in RESOURCES:
        app.register_blueprint(resource.blueprint(services))
    return app
