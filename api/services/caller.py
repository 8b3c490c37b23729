"""The caller: the account and the scopes of a key."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import FieldError, ScopeNotAllowed


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated account and what its key may do; an empty `scopes` allows everything."""

    account: str
    key_id: str
    scopes: frozenset[str] = frozenset()

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
