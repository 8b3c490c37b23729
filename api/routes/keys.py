"""/v1/keys: list, create and revoke the keys of the account."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.json_response import reply
from api.openapi.model import Operation, path_id
from api.schemas import body
from api.schemas.classifier import DeletedObject
from api.schemas.key import KeyBody, KeyList, KeyObject, NewKeyObject, parse_key
from api.server.route_limits import small_body_bytes
from api.services.caller import Caller
from api.services.keys import create_key, list_keys, revoke_key
from shared.errors import NotFound, ResourceLimitExceeded
from shared.key_record import ListedKey

MAX_KEYS = 100  # of an account that are valid, by API; the operator may create more

_KEY_ID = path_id("key_id", "The `id` of a key.")
_operation = partial(Operation, tag="Account", scope="admin")

OPERATIONS = (
    _operation(
        method="get",
        path="/v1/keys",
        name="listKeys",
        summary="The keys of your account, oldest first, without their secrets.",
        answers={200: KeyList},
    ),
    _operation(
        method="post",
        path="/v1/keys",
        name="createKey",
        summary="Create a key; only this response contains its secret.",
        about="The key has the tier of the key that creates it, and at most its services. There is "
        "no `Idempotency-Key`: a response that is kept would keep the secret.",
        body=KeyBody,
        answers={201: NewKeyObject},
        example={
            "name": "nightly tagging",
            "scopes": ["classify"],
            "allowed_services": ["batches"],
        },
    ),
    _operation(
        method="delete",
        path="/v1/keys/{key_id}",
        name="revokeKey",
        summary="Revoke a key; API processes refuse it within seconds.",
        parameters=(_KEY_ID,),
        answers={200: DeletedObject},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    store, clock = services.store, services.submit.clock
    max_body_bytes = small_body_bytes(services.settings)
    routes = Blueprint("keys", __name__)

    def now() -> datetime:
        return datetime.fromtimestamp(clock(), UTC)

    @routes.get("/v1/keys")
    def listing() -> Response:
        keys = list_keys(store, middleware.caller().account)
        return reply(KeyList(data=[KeyObject.of(key) for key in keys]))

    @routes.post("/v1/keys")
    def create() -> Response:
        at, caller = now(), middleware.caller()
        params = parse_key(body.parse(json_body.data(max_bytes=max_body_bytes)), now=at)
        valid = [key for key in list_keys(store, caller.account) if key.valid_at(at)]
        if len(valid) >= MAX_KEYS:
            raise ResourceLimitExceeded(
                f"an account may have at most {MAX_KEYS} valid keys; revoke one first"
            )
        secret, key = create_key(
            store,
            name=params.name.strip(),
            account=caller.account,
            scopes=tuple(dict.fromkeys(params.scopes)),
            services=_services(caller, params.allowed_services),
            tier=caller.key_tier,
            created_at=at,
            expires_at=params.expires_at,
        )
        shown = KeyObject.of(ListedKey(**dict(key)))
        return reply(NewKeyObject(**dict(shown), secret=secret), 201)

    @routes.delete("/v1/keys/<key_id>")
    def revoke(key_id: str) -> Response:
        if revoke_key(store, key_id, now=now(), account=middleware.caller().account) is None:
            raise NotFound("no such key")
        return reply({"message": "the key is revoked"})

    return routes


def _services(caller: Caller, wanted: list[str]) -> tuple[str, ...]:
    """The services of a new key: those of its creator, or some of them.

    Raises:
        ServiceNotAllowed: The creator is limited to other services.
    """
    for service in wanted:
        caller.require_service(service)
    return tuple(dict.fromkeys(wanted)) or tuple(sorted(caller.services))
