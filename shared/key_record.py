"""The record of an API key: everything about it but its secret."""

from __future__ import annotations

from datetime import datetime

from shared.types import Value

SCOPES = ("account", "admin", "classify", "jobs", "train")
SERVICES = (
    "account",
    "batches",
    "classifiers",
    "classify",
    "jobs",
    "text-classify",
    "text-few-shot",
    "train",
)
"""What a key may be limited to: groups of calls (`api.openapi.model.Operation.service`)."""
MAX_NAME_CHARS = 100


class Key(Value):
    """A key at rest: everything about it but its secret.

    No `scopes` or no `services`: the key is not limited to some. An empty `tier` is the account's.
    """

    id: str
    name: str
    account: str
    scopes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    tier: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def valid_at(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class ListedKey(Key):
    """A key, and when it was last used, right to about a minute; None: never."""

    last_used_at: datetime | None = None


def is_key_name(text: str) -> bool:
    """Whether a text may be the name of a key."""
    return bool(text.strip()) and len(text) <= MAX_NAME_CHARS and text.isprintable()
