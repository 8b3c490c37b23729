"""The probe at start: proves that an object store supports conditional writes."""

from __future__ import annotations

import uuid
from contextlib import suppress

from shared.errors import ConfigurationError, PreconditionFailed, StoreUnavailable
from shared.ports import ObjectStore

_SERVERS_THAT_HAVE_IT = "AWS S3, SeaweedFS 4.18 or later, RustFS 1.0 or later, or Ceph RGW"


def prove(store: ObjectStore, *, server: str) -> None:
    """Write, read and race against ourselves under a new name in `probe/`, then clean up.

    It cannot show that conditions hold under load: SeaweedFS before 4.18 passes and is racy.

    Args:
        store: The store to prove.
        server: What to call it in a refusal: an endpoint without credentials, or a path.

    Raises:
        ConfigurationError: It does not return what was written, or ignores a condition.
        StoreUnavailable: It cannot be reached.
    """
    name = f"probe/{uuid.uuid4().hex}"
    try:
        missing = _ignored(store, name, server)
    finally:
        with suppress(StoreUnavailable):
            store.delete(name)
    if missing:
        raise lacking(server, missing)


def lacking(server: str, missing: list[str]) -> ConfigurationError:
    """The refusal of a server that ignores these conditions."""
    return ConfigurationError(
        f"The object store {server} ignores {' and '.join(missing)} when an object is "
        "written, so one writer would silently overwrite another. Use a server that has "
        f"conditional writes: {_SERVERS_THAT_HAVE_IT}."
    )


def _ignored(store: ObjectStore, name: str, server: str) -> list[str]:
    """The conditions that the store ignores."""
    missing = []
    store.put(name, b"first", if_absent=True)
    first = store.get(name)
    if first.data != b"first":
        raise ConfigurationError(f"The object store {server} does not return what was written.")
    if _accepts(store, name, if_absent=True):
        missing.append("If-None-Match")
    store.put(name, b"second")
    if _accepts(store, name, if_match=first.etag):
        missing.append("If-Match")
    elif not _accepts(store, name, if_match=store.get(name).etag):
        raise ConfigurationError(
            f"The object store {server} refuses a write whose If-Match names the current ETag."
        )
    return missing


def _accepts(
    store: ObjectStore, name: str, *, if_absent: bool = False, if_match: str | None = None
) -> bool:
    try:
        store.put(name, b"third", if_absent=if_absent, if_match=if_match)
    except PreconditionFailed:
        return False
    return True
