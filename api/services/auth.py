"""Authentication: a request sends its key as `Authorization: Bearer`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from api.server.failed_auth_limiter import WrongKeys
from api.services.caller import Caller
from api.services.key_uses import KeyUses
from api.services.keys import digest, read_key
from api.services.record_cache import RecordCache
from shared import service_clock
from shared.accounts import Account, AccountStore
from shared.errors import AccountSuspended, InvalidKey, InvalidKeyFormat, MissingKey
from shared.ports import ObjectStore
from shared.tiers import Tier, Tiers, load


class Authenticator:
    """Authenticates requests; keys and accounts of the object store are cached for `cache_s`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        cache_s: float,
        tiers: Tiers | None = None,
        wrong_keys: WrongKeys | None = None,
        uses: KeyUses | None = None,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._clock = clock
        self._tiers = tiers or load()
        self._keys = RecordCache(partial(read_key, store), keep_s=cache_s, clock=clock)
        self._accounts = RecordCache(AccountStore(store=store).get, keep_s=cache_s, clock=clock)
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
            AccountSuspended: The operator has suspended the account of the key.
            StoreUnavailable: The store is away and the key or its account is not cached.
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
        key = self._keys.get(name)
        if key is None or not key.valid_at(datetime.fromtimestamp(self._clock(), UTC)):
            if address is not None:
                self._wrong_keys.count(address)
            raise InvalidKey("the key is unknown, revoked or expired; ask the operator for one")
        account = self.account(key.account)
        if account.suspended_at is not None:
            raise AccountSuspended("this account is suspended; ask the operator why")
        if self._uses is not None:
            self._uses.note(name)
        per_key = bool(key.tier) or self._tiers.per == "key"
        return Caller(
            account=key.account,
            key_id=key.id,
            scopes=frozenset(key.scopes),
            services=frozenset(key.services),
            tier=self._tiers.of(key.tier or account.tier),
            key_tier=key.tier,
            rate_subject=key.id if per_key else key.account,
        )

    def account(self, account: str) -> Account:
        """An account, as of the last `cache_s` seconds.

        Raises:
            StoreUnavailable: The store is away and the account is not cached.
        """
        return self._accounts.get(account) or Account(id=account)

    def tier(self, account: str) -> Tier:
        """The tier of an account, as of the last `cache_s` seconds.

        Raises:
            StoreUnavailable: The store is away and the account is not cached.
        """
        return self._tiers.of(self.account(account).tier)
