"""API keys: random, shown once, stored as SHA-256; a request sends `Authorization: Bearer`."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from api.server.failed_auth_limiter import WrongKeys
from api.services import key_uses
from api.services.caller import Caller
from api.services.key_uses import KeyUses
from shared import ids, object_keys, service_clock
from shared.errors import InvalidKey, InvalidKeyFormat, MissingKey, ObjectMissing, Unavailable
from shared.ports import ObjectStore
from shared.types import Value

SCOPES = ("classify", "jobs", "train")
_STALE_S = 600.0  # how long a known key still opens the door while the store is away


class Key(Value):
    """A key at rest: everything about it but its secret."""

    id: str
    name: str
    account: str
    scopes: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class ListedKey(Key):
    """A key, and when it was last used, right to about a minute; None: never."""

    last_used_at: datetime | None = None


def digest(secret: str) -> str:
    """The name under which a key is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_key(
    store: ObjectStore,
    *,
    name: str,
    account: str,
    scopes: tuple[str, ...],
    created_at: datetime,
    expires_at: datetime | None,
) -> tuple[str, Key]:
    """Create a key; the returned secret is stored nowhere else."""
    secret = f"ph_{secrets.token_urlsafe(32)}"
    key = Key(
        id=f"key_{ids.token()}",
        name=name,
        account=account,
        scopes=scopes,
        created_at=created_at,
        expires_at=expires_at,
    )
    store.put(object_keys.key(digest(secret)), key.model_dump_json().encode(), if_absent=True)
    return secret, key


def list_keys(store: ObjectStore) -> list[ListedKey]:
    """All keys, oldest first."""
    found = []
    for name in store.list(object_keys.KEYS):
        key = _read(store, name)
        if key is not None:
            at = key_uses.last_used(store, object_keys.key_digest(name))
            found.append(ListedKey(**dict(key), last_used_at=at))
    return sorted(found, key=lambda key: key.created_at)


def revoke_key(store: ObjectStore, key_id: str, *, now: datetime) -> Key | None:
    """Revoke a key; None if it does not exist. APIs refuse it within `key_cache_s`."""
    for name in store.list(object_keys.KEYS):
        key = _read(store, name)
        if key is not None and key.id == key_id:
            revoked = key.model_copy(update={"revoked_at": key.revoked_at or now})
            store.put(name, revoked.model_dump_json().encode())
            return revoked
    return None


def _read(store: ObjectStore, name: str) -> Key | None:
    try:
        return Key.model_validate_json(store.get(name).data)
    except ObjectMissing:
        return None


class Authenticator:
    """Authenticates requests; keys from the object store are cached for `cache_s`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        cache_s: float,
        wrong_keys: WrongKeys | None = None,
        uses: KeyUses | None = None,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._store = store
        self._cache_s = cache_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Key | None, float]] = {}
        self._wrong_keys = wrong_keys or WrongKeys()
        self._uses = uses

    def caller(self, header: str | None, *, address: str | None = None) -> Caller:
        """The caller of an `Authorization` header.

        Args:
            header: its value.
            address: the peer of the connection, for which wrong keys are counted; None: nothing is.

        Raises:
            MissingKey: There is no header.
            InvalidKeyFormat: It is not `Bearer <key>`.
            InvalidKey: The key is unknown, revoked or expired.
            TooManyWrongKeys: It is, and so were many others from the address.
            StoreUnavailable: The store is away and the key is not remembered.
        """
        if not header:
            raise MissingKey("send your key as 'Authorization: Bearer <key>'")
        scheme, _, secret = header.partition(" ")
        secret = secret.strip()
        if not secret.isascii():
            raise InvalidKeyFormat(
                "the API key has non-ASCII characters, but every key is ASCII: copy it again"
            )
        if scheme.lower() != "bearer" or not secret or len(secret) > 256 or " " in secret:
            raise InvalidKeyFormat("the Authorization header must be 'Bearer <key>'")
        name = digest(secret)
        key = self._key(name)
        now = datetime.fromtimestamp(self._clock(), UTC)
        if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
            if address is not None:
                self._wrong_keys.count(address)
            raise InvalidKey("the key is unknown, revoked or expired; ask the operator for one")
        if self._uses is not None:
            self._uses.note(name)
        return Caller(account=key.account, key_id=key.id, scopes=frozenset(key.scopes))

    def _key(self, name: str) -> Key | None:
        known = self._known.get(name)
        age = self._clock() - known[1] if known else float("inf")
        if known and 0 <= age <= self._cache_s:  # below 0: the clock was set back
            return known[0]
        try:
            key = _read(self._store, object_keys.key(name))
        except Unavailable:
            if known and known[0] and age <= _STALE_S:
                return known[0]
            raise
        with self._lock:
            if len(self._known) >= 10_000:  # strangers guessing keys must not fill the memory
                # nor have valid keys forgotten, by which callers get in while the store is away
                self._known = {n: k for n, k in self._known.items() if k[0] is not None}
                if len(self._known) >= 10_000:
                    self._known.clear()
            self._known[name] = (key, self._clock())
        return key
