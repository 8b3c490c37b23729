"""The origins whose pages may call the API from a browser, as the operator lists them."""

from __future__ import annotations

import re

from shared.errors import ConfigurationError

ANY = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}  # which browsers leave out


def origins_of(text: str) -> frozenset[str]:
    """The origins of a setting, such as ``https://app.example.org, http://localhost:3000``.

    Raises:
        ConfigurationError: One is not an origin as browsers send it.

    >>> sorted(origins_of("https://app.example.org, http://localhost:3000"))
    ['http://localhost:3000', 'https://app.example.org']
    """
    origins = frozenset(each.strip() for each in text.split(",") if each.strip())
    for origin in origins - {ANY}:
        port = _USUAL_PORTS.get(origin.partition(":")[0])
        if not _ORIGIN.fullmatch(origin) or (port and origin.endswith(port)):
            raise ConfigurationError(
                f"PIGEONHOLE_ALLOWED_ORIGINS: {origin!r} is not an origin; examples are "
                "https://app.example.org and http://localhost:3000 (lower case, no path, no "
                "default port), and * allows all"
            )
    return origins
