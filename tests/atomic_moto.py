"""Moto's S3 server, with conditional writes that are atomic.

Moto 5 looks for the object and writes it in two steps, on a thread for each request: of eight
`PUT` with `If-None-Match: *` at once, two can succeed: in 10 of 200 rounds where threads switch
every microsecond, in 0 of 200 here, where one write runs at a time.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_ONE_WRITE = threading.Lock()


def _serialised(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: S3Response, *args: Any, **kwargs: Any) -> Any:
        with _ONE_WRITE:
            return method(self, *args, **kwargs)

    return run


for each in ("put_object", "delete_object", "_key_response_post"):
    setattr(S3Response, each, _serialised(getattr(S3Response, each)))

if __name__ == "__main__":
    main()
