"""Calls to an S3 server: a limited number of attempts, and only errors of `shared.errors`.

Decides which errors are retried, for how long, and what a refusal of the server means. boto3 is
imported with the first client, so that the API starts fast.
"""

from __future__ import annotations

import copy
import io
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shared.adapters.s3.signing import sign_with_service_time
from shared.errors import (
    ConfigurationError,
    ObjectMissing,
    PigeonholeError,
    PreconditionFailed,
    StoreFull,
    StoreUnavailable,
)

_PAUSES_S = (0.05, 0.2, 0.5)
_LARGE_BODY_BYTES = 1 << 20
_ACCESS_STATUSES = {301, 400, 401, 403}
# Of MinIO and its kin, of Ceph, of Backblaze and others; most of them with 507 or 403.
_FULL_CODES = {
    "InsufficientCapacity",
    "InsufficientStorage",
    "QuotaExceeded",
    "QuotaExceededException",
    "StorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "XRustfsStorageFull",
}
_FULL_RETRY_S = 10

T = TypeVar("T")


class S3Calls:
    """One S3 client, shared by all threads.

    Args:
        endpoint: The server's URL; AWS if None.
        region: The bucket's region; boto3's own search if None.
        access_key: With `secret_key`; boto3's own search (environment, role) if None.
        secret_key: See `access_key`.
        addressing: Where the bucket stands in a URL, `path` or `virtual`; `auto`: `path` for an
            endpoint, as boto3 prefers for AWS.
        ca: File of the CA certificates of the server; those of certifi if None.
        timeout_s: A server that is away, or silent for so long, fails the call; see `attempt`.
        connections: Connections kept open; more callers than that open and close their own.

    Raises:
        ConfigurationError: The endpoint is no URL, boto3 finds no region, there is only one of the
            two keys, or the file of the CA does not exist.
    """

    def __init__(
        self,
        *,
        endpoint: str | None,
        region: str | None,
        access_key: str | None,
        secret_key: str | None,
        timeout_s: float,
        connections: int,
        addressing: str = "auto",
        ca: str | None = None,
    ) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        if bool(access_key) != bool(secret_key):
            raise ConfigurationError(
                "PIGEONHOLE_S3_ACCESS_KEY and PIGEONHOLE_S3_SECRET_KEY belong together: set both, "
                "or none for the credentials that boto3 finds"
            )
        if ca and not Path(ca).is_file():
            raise ConfigurationError(f"PIGEONHOLE_S3_CA is {ca!r}; there is no such file")
        sign_with_service_time()
        self.server = _without_credentials(endpoint) if endpoint else "AWS S3"
        self._timeout_s = timeout_s
        self._strict = False
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint and addressing == "auto" else addressing},
            connect_timeout=timeout_s / 2,
            read_timeout=timeout_s,
            # botocore's retries know no total time, and would hide that a write was sent twice.
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=connections,
            tcp_keepalive=True,
            # Trailing checksums, botocore's default since 1.36, are refused by many servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            # A session of our own: boto3's default one is not safe to make in several threads.
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint,
                region_name=region or ("us-east-1" if endpoint else None),
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                verify=ca,
                config=config,
            )
        except (BotoCoreError, ValueError) as exc:
            raise ConfigurationError(f"The S3 settings are invalid: {exc}.") from exc
        self._client.meta.events.register_last("before-call.s3", _send_small_bodies_at_once)

    def strict(self) -> S3Calls:
        """The same client where a server that refuses us is no outage: at the start it is a wrong
        setting, elsewhere a wrong address.
        """
        calls = copy.copy(self)
        calls._strict = True
        return calls

    def attempt(self, call: Callable[[Any], T]) -> T:
        """Run a call on the client, again while that may help and time is left.

        A further attempt starts only in the first half of `timeout_s`: a server that cannot be
        reached fails the call within `timeout_s` (for each address that its name has), one that
        accepts and stays silent within one and a half. The transfer of a body that keeps moving
        is not bounded.

        Args:
            call: Uses the client once; may run several times.

        Raises:
            ObjectMissing: 404.
            PreconditionFailed: 412.
            ConfigurationError: There is no such bucket; the server lacks the operation.
            StoreFull: The server has no room, or a quota is used up.
            StoreUnavailable: Anything else.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        last_start_at = time.monotonic() + self._timeout_s / 2
        pauses_s = list(_PAUSES_S)
        while True:
            try:
                return call(self._client)
            except ClientError as exc:
                error, again = _refusal(exc.response, at_start=self._strict, server=self.server)
                cause: Exception = exc
            except BotoCoreError as exc:
                error, again = _failure(exc, at_start=self._strict, server=self.server)
                cause = exc
            # Spread, so that writers who met in a conflict do not meet again.
            pause_s = pauses_s.pop(0) * random.uniform(0.5, 1.0) if pauses_s else None
            if not again or pause_s is None or time.monotonic() + pause_s > last_start_at:
                raise error from cause
            threading.Event().wait(pause_s)


def _send_small_bodies_at_once(params: dict[str, Any], **_: Any) -> None:
    """Do without `Expect: 100-continue`, which botocore adds to every body.

    It costs a round trip, and a second where the server does not know it; it pays only where a
    refusal saves sending much.
    """
    body = params.get("body")
    if isinstance(body, io.BytesIO) and body.getbuffer().nbytes < _LARGE_BODY_BYTES:
        params["headers"].pop("Expect", None)


def _refusal(
    response: dict[str, Any], *, at_start: bool, server: str
) -> tuple[PigeonholeError, bool]:
    """What an error answer means, and whether to try again."""
    status = int(response["ResponseMetadata"]["HTTPStatusCode"])
    code = str(response["Error"]["Code"])
    if code == "NoSuchBucket":
        return ConfigurationError(f"The object store {server} has no such bucket."), False
    if status == 501 or code == "NotImplemented":
        return ConfigurationError(
            f"The object store {server} does not support an operation: {code}."
        ), False
    if status == 404:
        return ObjectMissing("The object store has no such object."), False
    if status == 412:
        return PreconditionFailed("Another writer changed the object first."), False
    if status == 507 or code in _FULL_CODES:
        return StoreFull(f"The object store is full: {code}.", retry_after_s=_FULL_RETRY_S), False
    # 409 is ConditionalRequestConflict: two conditional writes met, and S3 asks to come again.
    again = status >= 500 or status in {409, 429} or code in {"RequestTimeout", "SlowDown"}
    if at_start and status in _ACCESS_STATUSES and not again:
        return ConfigurationError(f"The object store {server} denies access: {code}."), False
    return StoreUnavailable(f"The object store returned {status} {code}."), again


def _failure(error: Exception, *, at_start: bool, server: str) -> tuple[PigeonholeError, bool]:
    """What the lack of an answer means, and whether to try again."""
    from botocore import exceptions as theirs

    if isinstance(
        error, theirs.ConnectionError | theirs.HTTPClientError | theirs.IncompleteReadError
    ):
        return StoreUnavailable("The object store does not respond."), True
    if at_start:
        return ConfigurationError(f"A request to the object store {server} failed: {error}."), False
    return StoreUnavailable("A request to the object store failed."), False


def _without_credentials(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
