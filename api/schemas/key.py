"""API keys in the API. Only the response that creates a key contains its secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from shared.key_record import MAX_NAME_CHARS, SCOPES, SERVICES, ListedKey, is_key_name
from shared.schema_base import Schema, bounded
from shared.validation import refuse, translated


class KeyObject(BaseModel):
    """A key, without its secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    scopes: list[str] = Field(description="Scopes of the key; empty: all.")
    allowed_services: list[str] = Field(description="Services of the key; empty: all.")
    tier: str | None = Field(description="Tier of the key; null: that of the account.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Right to about a minute; null: never.")

    @classmethod
    def of(cls, key: ListedKey) -> KeyObject:
        """A key of the store."""
        return cls(
            **key.model_dump(exclude={"account", "scopes", "services", "tier"}),
            scopes=list(key.scopes),
            allowed_services=list(key.services),
            tier=key.tier or None,
        )


class NewKeyObject(KeyObject):
    """A key with its secret. The secret is shown only once: store it."""

    secret: str = Field(description="Send it as `Authorization: Bearer <secret>`.")


class KeyList(BaseModel):
    """The keys of the account, oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyObject]


def _moment(value: object) -> object:
    """A time with its offset, in UTC."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        if at is not None and at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError(
        "value_error", "must be a time with its offset, such as 2027-01-31T00:00:00Z, or null"
    )


class KeyBody(Schema):
    """A new key."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: str = Field(description=f"What the key is for; at most {MAX_NAME_CHARS} characters.")
    scopes: Annotated[list[str], BeforeValidator(bounded)] = Field(
        [], description=f"Some of {', '.join(SCOPES)}; empty: all."
    )
    allowed_services: Annotated[list[str], BeforeValidator(bounded)] = Field(
        [],
        description=f"Some of {', '.join(SERVICES)}; empty: those of the key that creates it.",
    )
    expires_at: Annotated[AwareDatetime | None, BeforeValidator(_moment)] = Field(
        None, description="A time with its offset, such as `2027-01-31T00:00:00Z`; null: never."
    )


def parse_key(body: object, *, now: datetime) -> KeyBody:
    """Parse a new key.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        params = KeyBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    if not is_key_name(params.name):
        refuse("name", f"must have 1 to {MAX_NAME_CHARS} printable characters, not only spaces")
    _check_known("scopes", params.scopes, SCOPES)
    _check_known("allowed_services", params.allowed_services, SERVICES)
    if params.expires_at is not None and params.expires_at <= now:
        refuse("expires_at", f"must be in the future; it is {now.astimezone(UTC):%Y-%m-%d %H:%M}Z")
    return params


def _check_known(field: str, values: list[str], known: tuple[str, ...]) -> None:
    for place, value in enumerate(values):
        if value not in known:
            refuse(f"{field}[{place}]", f"is unknown; supported are {', '.join(known)}")
