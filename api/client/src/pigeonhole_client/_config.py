"""Where the service is, and the key: arguments, then environment, then what `login` wrote."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pigeonhole_client import _files
from pigeonhole_client.errors import ConfigurationError

URL_VARIABLE = "PIGEONHOLE_URL"
KEY_VARIABLE = "PIGEONHOLE_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Base URL of the service, without a slash at its end, and the API key."""

    base_url: str
    api_key: str


def address(base_url: str | None = None, api_key: str | None = None) -> Address:
    """The address that the arguments, the environment or the login file name, in this order.

    The key of the login file is used only with the URL of the login file: it is never sent to
    another service.

    Raises:
        ConfigurationError: No URL or no key is named, or the URL is not http or https.
    """
    login = _login()
    url = base_url or os.environ.get(URL_VARIABLE) or login.get("url", "")
    key = api_key or os.environ.get(KEY_VARIABLE) or ""
    url = url.rstrip("/")
    if not key and url == login.get("url"):
        key = login.get("api_key", "")
    if not url:
        raise ConfigurationError(
            f"no service is named: set {URL_VARIABLE}, run `pigeonhole login`, or pass base_url"
        )
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is not a URL of http or https")
    if not key:
        raise ConfigurationError(
            f"no API key for {url}: set {KEY_VARIABLE}, run `pigeonhole login`, or pass api_key"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("the API key has characters that no HTTP header can hold")
    return Address(base_url=url, api_key=key)


def save_login(base_url: str, api_key: str) -> Path:
    """Write URL and key to the login file, readable by its owner only; the path of the file."""
    path = login_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _files.write_json(path, {"url": base_url.rstrip("/"), "api_key": api_key})
    return path


def login_path() -> Path:
    """The file that `pigeonhole login` writes."""
    if os.name == "nt":
        root = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        root = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return root / "pigeonhole" / "login.json"


def _login() -> dict[str, str]:
    try:
        found = json.loads(login_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
