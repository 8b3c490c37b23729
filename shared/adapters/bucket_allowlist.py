"""The allowlist of `s3://` addresses that requests may name: those below the operator's prefixes.

Pure: it does not check whether an object exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from shared.adapters.object_key_rules import MAX_NAME_BYTES, check_name
from shared.errors import ConfigurationError, InvalidRequest
from shared.validation import refuse

_SCHEME = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


class BucketLocation(NamedTuple):
    """A bucket and a key of it; a key that is empty or ends in `/` stands for all below it."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        """As it is written in a request."""
        return f"{_SCHEME}{self.bucket}/{self.key}"

    def holds(self, other: BucketLocation) -> bool:
        """Whether the other one is below this one, or is it.

        >>> below = BucketLocation("b", "in/")
        >>> below.holds(BucketLocation("b", "in/x")), below.holds(BucketLocation("b", "in2"))
        (True, False)
        """
        return self.bucket == other.bucket and other.key.startswith(self.key)


@dataclass(frozen=True, kw_only=True)
class BucketAllowlist:
    """The places that requests may read from, or write to.

    Attributes:
        field: of a request, that names such an address.
        setting: that says which are allowed.
    """

    field: str
    setting: str
    allowed: tuple[BucketLocation, ...]

    @classmethod
    def of(cls, text: str, *, field: str, setting: str) -> BucketAllowlist:
        """The places that a setting lists, separated by commas; each is a folder.

        Raises:
            ConfigurationError: One of them is no such address.

        >>> BucketAllowlist.of("s3://one/in, s3://two", field="f", setting="S").allowed
        (BucketLocation(bucket='one', key='in/'), BucketLocation(bucket='two', key=''))
        """
        allowed = []
        for word in filter(None, map(str.strip, text.split(","))):
            place = _place(word.rstrip("/") + "/")
            if place is None:
                raise ConfigurationError(
                    f"{setting}: each location must have the form s3://bucket/prefix/."
                )
            allowed.append(place)
        return cls(field=field, setting=setting, allowed=tuple(allowed))

    def find(self, url: str) -> BucketLocation:
        """The place that a request names.

        Raises:
            InvalidRequest: It is no such address, or not below an allowed one.
        """
        place = _place(url)
        if place is None:
            refuse(
                self.field,
                "must be s3://bucket/key; the key is not URL-decoded, has at most "
                f"{MAX_NAME_BYTES} bytes and no empty, '.' or '..' segments",
            )
        if not any(each.holds(place) for each in self.allowed):
            refuse(
                self.field,
                f"is outside the allowed S3 locations; the operator can add it to {self.setting}",
            )
        return place


def _place(url: str) -> BucketLocation | None:
    """A URL taken apart, if it is one that we read."""
    bucket, slash, key = url.removeprefix(_SCHEME).partition("/")
    if not url.startswith(_SCHEME) or not slash or not _BUCKET.fullmatch(bucket):
        return None
    try:
        if key:
            check_name(key.removesuffix("/"))
    except InvalidRequest:
        return None
    return BucketLocation(bucket, key)
