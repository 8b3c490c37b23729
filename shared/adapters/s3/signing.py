"""Signatures of S3 requests and URLs, with the service time.

A server refuses a request whose date is minutes off, and a presigned URL would be expired or not
yet valid. botocore reads the wall clock of the machine, so the date is replaced before signing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared import service_clock

_VERSIONS = {"s3v4": "S3SigV4Auth", "s3v4-query": "S3SigV4QueryAuth"}


def sign_with_service_time() -> None:
    """Let every S3 client of this process do so; repeating it changes nothing."""
    from botocore import auth

    for version, name in _VERSIONS.items():
        if auth.AUTH_TYPE_MAPS[version].__module__ != __name__:
            auth.AUTH_TYPE_MAPS[version] = _dated(getattr(auth, name), auth.SIGV4_TIMESTAMP)


def _dated(signer: Any, date_format: str) -> Any:
    class Dated(signer):  # type: ignore[misc]
        """The signer, with another date."""

        def _modify_request_before_signing(self, request: Any) -> None:
            now = datetime.fromtimestamp(service_clock.now(), UTC)
            request.context["timestamp"] = now.strftime(date_format)
            super()._modify_request_before_signing(request)

    return Dated
