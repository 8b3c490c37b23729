"""Client of Pigeonhole, the self-hosted classification service.

>>> from pigeonhole_client import Pigeonhole
>>> with Pigeonhole("http://127.0.0.1:8080", "ph_…") as client:       # doctest: +SKIP
...     answer = client.classify("I was charged twice.", ["billing", "delivery"])
...     client.batches.tag("tickets.csv", ["billing", "delivery"], progress=True)

`AsyncPigeonhole` has the same methods, to be awaited.
"""

from pigeonhole_client import errors, types
from pigeonhole_client._async.client import AsyncPigeonhole
from pigeonhole_client._requests import CallOptions, Options
from pigeonhole_client._sync.client import Pigeonhole
from pigeonhole_client.errors import ApiError, BatchFailed, ConnectionFailed, Error, JobFailed
from pigeonhole_client.tagging import TagProgress, TagResult

__all__ = [
    "ApiError",
    "AsyncPigeonhole",
    "BatchFailed",
    "CallOptions",
    "ConnectionFailed",
    "Error",
    "JobFailed",
    "Options",
    "Pigeonhole",
    "TagProgress",
    "TagResult",
    "errors",
    "types",
]
