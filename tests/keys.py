"""API keys for tests."""

from __future__ import annotations

from datetime import UTC, datetime

from api.services.keys import create_key
from shared.ports import ObjectStore


def secret_of(store: ObjectStore, account: str = "acme") -> str:
    """The secret of a fresh key of the account, which may do everything."""
    secret, _ = create_key(
        store,
        name="test",
        account=account,
        scopes=(),
        created_at=datetime.now(UTC),
        expires_at=None,
    )
    return secret
