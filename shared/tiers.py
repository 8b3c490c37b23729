"""The tiers of accounts, read from TOML: rates, concurrency, batch rows, classifiers, free tokens.

`tiers.toml` ships with the service; a file of the operator (`PIGEONHOLE_TIERS`) replaces it.
"""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, PositiveInt, ValidationError, model_validator

from shared.errors import ConfigurationError
from shared.types import Value
from shared.validation import faults_of

RateClass = Literal["zero_shot", "few_shot"]
"""Classify calls with labels; classify calls with a classifier, and everything that trains."""


class _TierTable(Value):
    """A table of a tiers file; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_TierTable):
    """The maximum requests and tokens in any minute; None: no limit."""

    requests: PositiveInt | None = None
    tokens: PositiveInt | None = None


class Tier(_TierTable):
    """The limits of an account; None: no limit of this kind.

    Attributes:
        name: Key of the tier in the file.
        zero_shot, few_shot: Rates of the two classes of calls.
        concurrent_calls: Calls that wait for their response at the same time.
        batch_rows: Rows of all batches that have not ended.
        classifiers: Classifiers of the account; `PIGEONHOLE_MAX_CLASSIFIERS` bounds them as well.
        free_tokens: Tokens that a new account is granted once; None: work has no price.
        cache_s: How long a response may be reused for an equal request; None:
            `PIGEONHOLE_CACHE_TTL_S`.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    zero_shot: Rate = Rate()
    few_shot: Rate = Rate()
    concurrent_calls: PositiveInt | None = None
    batch_rows: PositiveInt | None = None
    classifiers: PositiveInt | None = None
    free_tokens: int | None = Field(default=None, ge=0)
    cache_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def rate(self, rate_class: RateClass) -> Rate:
        """The rate of a class of calls."""
        return self.zero_shot if rate_class == "zero_shot" else self.few_shot

    def max_classifiers(self, service_max: int) -> int:
        """The smaller one of the limits of the tier and of the service."""
        return min(self.classifiers or service_max, service_max)


NO_LIMITS = Tier(name="unlimited")


class Tiers(_TierTable):
    """All tiers by name. `default` is the tier of accounts that name none."""

    default: str
    per: Literal["account", "key"] = "account"
    tiers: dict[str, Tier]

    @model_validator(mode="before")
    @classmethod
    def _name_tiers(cls, table: dict[str, object]) -> dict[str, object]:
        tiers = table.get("tiers")
        if not isinstance(tiers, dict):
            return table
        named = {
            name: {"name": name, **tier} if isinstance(tier, dict) else tier
            for name, tier in tiers.items()
        }
        return {**table, "tiers": named}

    @model_validator(mode="after")
    def _check_default(self) -> Tiers:
        if self.default not in self.tiers:
            raise ValueError(
                f"the default tier {self.default!r} is not in the file; it has "
                f"{', '.join(self.tiers) or 'none'}"
            )
        return self

    def find(self, name: str) -> Tier:
        """The tier of a name; an empty name is the default.

        Raises:
            ConfigurationError: The file has no such tier.
        """
        tier = self.tiers.get(name or self.default)
        if tier is None:
            near = difflib.get_close_matches(name, self.tiers, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ConfigurationError(
                f"there is no tier {name!r}{hint} The tiers are {', '.join(self.tiers)}"
            )
        return tier

    def of(self, name: str) -> Tier:
        """The tier of a name, or the default where the file no longer has it."""
        return self.tiers.get(name) or self.tiers[self.default]


def load(path: str = "") -> Tiers:
    """The tiers of a file, or those that ship with the service if `path` is empty.

    Raises:
        ConfigurationError: The file cannot be read, or an entry is wrong.
    """
    if not path:
        text = resources.files("shared").joinpath("tiers.toml").read_text("utf-8")
        return _parse("the built-in tiers", text)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the tiers {path} cannot be read: {exc}") from exc
    return _parse(path, text)


def _parse(source: str, text: str) -> Tiers:
    try:
        return Tiers.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{source} is not TOML: {exc}") from None
    except ValidationError as exc:
        fault = faults_of(exc)[0]
        raise ConfigurationError(f"{source}: {fault.field}: {fault.message}") from None
