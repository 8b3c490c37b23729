"""API keys at rest: random, shown once, stored under the SHA-256 of the secret.

A secret is never compared with another one: its hash is the name of the record. So the time of a
lookup tells at most something about the hash of a guess, from which no secret follows.

An index has the keys of each account. A key is in it before it exists, so none is missed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta

from api.services import key_uses
from shared import ids, object_keys
from shared.errors import NotFound, ObjectMissing
from shared.key_record import Key, ListedKey
from shared.messages import decode, encode
from shared.ports import ObjectStore


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
    services: tuple[str, ...] = (),
    tier: str = "",
) -> tuple[str, Key]:
    """Create a key; the returned secret is stored nowhere else."""
    secret = f"ph_{secrets.token_urlsafe(32)}"
    key = Key(
        id=f"key_{ids.token()}",
        name=name,
        account=account,
        scopes=scopes,
        services=services,
        tier=tier,
        created_at=created_at,
        expires_at=expires_at,
    )
    name = digest(secret)
    store.put(object_keys.key_of(account, name), b"")
    store.put(object_keys.key(name), encode(key), if_absent=True)
    return secret, key


def read_key(store: ObjectStore, digest: str) -> Key | None:
    """The key whose secret has the digest, or None."""
    return _read(store, object_keys.key(digest))


def list_keys(store: ObjectStore, account: str | None = None) -> list[ListedKey]:
    """All keys, or those of an account, oldest first."""
    listed = []
    for name, key in _keys(store, account):
        at = key_uses.last_used(store, object_keys.key_digest(name))
        listed.append(ListedKey(**dict(key), last_used_at=at))
    return sorted(listed, key=lambda key: key.created_at)


def revoke_key(
    store: ObjectStore, key_id: str, *, now: datetime, account: str | None = None
) -> Key | None:
    """Revoke a key; None if it does not exist, or belongs to another account than the given one.

    API processes refuse it within `key_cache_s`.
    """
    for name, key in _keys(store, account):
        if key.id == key_id:
            revoked = key.model_copy(update={"revoked_at": key.revoked_at or now})
            store.put(name, encode(revoked))
            return revoked
    return None


def rotate_key(
    store: ObjectStore, key_id: str, *, now: datetime, overlap: timedelta
) -> tuple[str, Key]:
    """Create a key like another one, which expires after the overlap.

    Raises:
        NotFound: There is no valid key of this id.
    """
    for name, key in _keys(store):
        if key.id == key_id and key.valid_at(now):
            secret, successor = create_key(
                store,
                name=key.name,
                account=key.account,
                scopes=key.scopes,
                services=key.services,
                tier=key.tier,
                created_at=now,
                expires_at=key.expires_at,
            )
            end = min(now + overlap, key.expires_at or now + overlap)
            store.put(name, encode(key.model_copy(update={"expires_at": end})))
            return secret, successor
    raise NotFound(f"there is no valid key {key_id}")


def has_keys(store: ObjectStore, account: str) -> bool:
    """Whether the account has a key, valid or not."""
    return next(_keys(store, account), None) is not None


def _keys(store: ObjectStore, account: str | None = None) -> Iterator[tuple[str, Key]]:
    """The keys of an account, or of all, by the names of their records."""
    for name in store.list(object_keys.KEYS) if account is None else _indexed(store, account):
        key = _read(store, name)
        if key is not None:
            yield name, key


def _indexed(store: ObjectStore, account: str) -> Iterator[str]:
    """The names of the records of an account's keys.

    The first call on a store indexes the keys that a version without the index created. A process
    of such a version must not create keys afterwards: they work, but are not listed.
    """
    try:
        store.get(object_keys.KEY_INDEX_BUILT)
    except ObjectMissing:
        for name, key in _keys(store):
            store.put(object_keys.key_of(key.account, object_keys.key_digest(name)), b"")
        store.put(object_keys.KEY_INDEX_BUILT, b"")
    prefix = object_keys.keys_of(account)
    for entry in store.list(prefix):
        yield object_keys.key(entry.removeprefix(prefix))


def _read(store: ObjectStore, name: str) -> Key | None:
    try:
        return decode(Key, store.get(name).data)
    except ObjectMissing:
        return None
