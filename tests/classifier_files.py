"""Files of weights as the service exports them, and broken ones, for tests of the front end."""

from __future__ import annotations

import json
from typing import Any


def weights_file(*, arrays: bytes = b"\0" * 64, **said: Any) -> bytes:
    """A file of a classifier; `said` changes what it says of itself, None leaves it out."""
    own = {
        "schema": 1,
        "model": "tiny",
        "revision": "1",
        "dimensions": 8,
        "labels": ["p", "q"],
        **said,
    }
    own = {key: value for key, value in own.items() if value is not None}
    return safetensors({"pigeonhole": json.dumps(own)}, arrays)


def safetensors(metadata: object, arrays: bytes = b"") -> bytes:
    """A file with one array, and this metadata."""
    header: dict[str, Any] = {
        "prior": {"dtype": "F32", "shape": [len(arrays) // 4], "data_offsets": [0, len(arrays)]}
    }
    if metadata is not None:
        header["__metadata__"] = metadata
    data = json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + arrays
