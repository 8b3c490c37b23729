"""Throttles wrong keys: a token bucket for each client address.

A key cannot be guessed, but each guess costs a read of the object store. Above the limit a wrong
key is answered with 429 instead of 401. No thread waits, and valid keys from the same address are
not counted. The address is the peer of the connection, or the one that a trusted proxy reports
(`api.server.trusted_proxies`). Behind an untrusted proxy, all clients share the bucket of the
proxy.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from shared.errors import TooManyWrongKeys

PER_MINUTE = 30
_MAX_ADDRESSES = 10_000
_IPV6_NETWORK_BITS = 64  # what one subscriber has


class WrongKeys:
    """Counts wrong keys by address, for the addresses that sent one most recently."""

    def __init__(
        self, *, per_minute: int = PER_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        # network -> (tokens left, when that was counted)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, address: str | None) -> None:
        """Count a wrong key.

        Raises:
            TooManyWrongKeys: The address has sent as many as it may; says when the next counts as
                one again.
        """
        network, now = network_of(address), self._clock()
        per_second = self._per_minute / 60
        with self._lock:
            left, at = self._buckets.pop(network, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + max(0.0, now - at) * per_second)
            refused = left < 1
            self._buckets[network] = (left if refused else left - 1, now)
            if len(self._buckets) > _MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        if refused:
            raise TooManyWrongKeys(
                f"the key is unknown, revoked or expired, and this address sent more than "
                f"{self._per_minute} such keys within a minute; ask the operator for a valid key",
                retry_after_s=math.ceil((1 - left) / per_second),
            )


def network_of(address: str | None) -> str:
    """What counts as one address: an IPv4 address, the /64 network of an IPv6 address.

    >>> network_of("192.0.2.1"), network_of("2001:db8::1"), network_of("::ffff:192.0.2.1")
    ('192.0.2.1', '2001:db8::/64', '192.0.2.1')
    """
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
