"""The account of a key in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from shared.tiers import Rate


class RateObject(BaseModel):
    """The maximum of a class of calls in any minute; null: no limit."""

    requests: int | None
    tokens: int | None

    @classmethod
    def of(cls, rate: Rate) -> RateObject:
        """A rate of a tier."""
        return cls(requests=rate.requests, tokens=rate.tokens)


class AccountLimits(BaseModel):
    """The limits of the account, or of a key with a tier of its own; null: no limit."""

    zero_shot: RateObject = Field(description="Classify calls with labels.")
    few_shot: RateObject = Field(
        description="Classify calls with a classifier, and calls that train or evaluate."
    )
    concurrent_calls: int | None = Field(description="Calls that wait for their response.")
    batch_rows: int | None = Field(description="Rows of all batches that have not ended.")
    classifiers: int = Field(description="Classifiers of the account.")
    free_tokens: int | None = Field(description="Tokens that a new account is granted.")
    cache_s: float = Field(description="Seconds for which an equal request may be answered again.")


class RateStatus(BaseModel):
    """The state of one limit."""

    policy: str = Field(description="Class of calls and unit, such as `zero_shot.requests`.")
    limit: int
    remaining: int
    reset: int = Field(description="Seconds until more remains; 0: all of it remains.")


class UsedTokens(BaseModel):
    """Charged tokens, as in the usage report."""

    today: int = Field(description="Since midnight, UTC.")
    month: int = Field(description="Since the first of the month, UTC.")


class AccountObject(BaseModel):
    """An account: its tier, its limits, its tokens, and what remains of its rates."""

    id: str
    object: Literal["account"] = "account"
    name: str
    tier: str
    created_at: datetime | None = Field(
        description="Null for an account of a version without records of accounts."
    )
    limits: AccountLimits
    balance: int | None = Field(description="Tokens left; null: the tier has no balance.")
    used: UsedTokens
    rates: list[RateStatus] = Field(description="A row for each limit on a rate.")
