"""Makes the object store that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from shared.adapters.directory.object_store import DirectoryStore
from shared.adapters.s3.object_store import S3Store
from shared.errors import ConfigurationError, StoreFull
from shared.ports import ObjectStore
from shared.settings import Settings
from shared.telemetry import Log

log = Log("store")


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    addressing: str = "auto",
    ca: str | None = None,
    timeout_s: float = 5.0,
) -> ObjectStore:
    """Make the adapter for a URL; `probe()` is the caller's next step.

    Args:
        url: ``file:///absolute/path`` (percent-encoded) or ``s3://bucket/prefix``.
        endpoint: The S3 server's URL; AWS if None. The S3 settings are ignored for a directory.
        region: The bucket's region; boto3's own search if None.
        access_key: With `secret_key`; boto3's own search (environment, role) if None.
        secret_key: See `access_key`.
        addressing: `path`, `virtual` or `auto`; see `S3Calls`.
        ca: File of the CA certificates of the server.
        timeout_s: The bound of a call, as the adapter explains it.

    Raises:
        ConfigurationError: The URL is of another kind, or a setting does not fit.
        StoreUnavailable: The directory cannot be made or written.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/") and rest.strip("/"):
        return DirectoryStore(Path(unquote(rest)), timeout_s=timeout_s)
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Store(
            bucket=bucket,
            prefix=prefix,
            endpoint=endpoint,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            addressing=addressing,
            ca=ca,
            timeout_s=timeout_s,
        )
    raise ConfigurationError(
        "The object store's URL must be file:///absolute/path or s3://bucket/prefix."
    )


def probe(store: ObjectStore) -> None:
    """Let a store prove itself, at the start of a process.

    One that is full is not proved: what needs no room, such as a zero-shot call, goes on.

    Raises:
        ConfigurationError, StoreUnavailable: As `ObjectStore.probe`.
    """
    try:
        store.probe()
    except StoreFull as exc:
        log.warning("store.full", reason=exc.detail)


def store_of(settings: Settings) -> ObjectStore:
    """The object store that the settings name."""
    return open_store(
        settings.store_url,
        endpoint=settings.s3_endpoint or None,
        region=settings.s3_region or None,
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key or None,
        addressing=settings.s3_addressing,
        ca=settings.s3_ca or None,
        timeout_s=settings.store_timeout_s,
    )
