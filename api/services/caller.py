"""The caller: the account of a key, and what the key may do."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import FieldError, ScopeNotAllowed, ServiceNotAllowed
from shared.tiers import NO_LIMITS, Tier


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated account and what its key may do.

    Attributes:
        account, key_id: The account, and the key that it uses.
        scopes, services: What the key is limited to; empty: not limited.
        tier: Limits of the account, or of a key that has a tier of its own.
        key_tier: Tier of the key, if it has one of its own; keys that it creates have it, too.
        rate_subject: What the limits count by: the account or the key.
    """

    account: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    tier: Tier = NO_LIMITS
    key_tier: str = ""
    rate_subject: str = ""

    def require(self, scope: str) -> None:
        """Refuse a call outside the key's scopes.

        Raises:
            ScopeNotAllowed: The key is limited to other scopes.
        """
        if self.scopes and scope not in self.scopes:
            allowed = ", ".join(sorted(self.scopes))
            raise ScopeNotAllowed(
                f"this key lacks the scope {scope!r}; it is limited to: {allowed}",
                fields=(FieldError(field="authorization", message=f"scope {scope} is missing"),),
            )

    def require_service(self, service: str) -> None:
        """Refuse a call outside the key's services; an empty service is open to all keys.

        Raises:
            ServiceNotAllowed: The key is limited to other services.
        """
        if service and self.services and service not in self.services:
            allowed = ", ".join(sorted(self.services))
            raise ServiceNotAllowed(
                f"this key may not use the service {service!r}; it is limited to: {allowed}",
                fields=(
                    FieldError(field="authorization", message=f"service {service} is not allowed"),
                ),
            )
