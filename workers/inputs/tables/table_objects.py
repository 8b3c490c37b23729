"""The objects below a prefix that hold the rows of a table.

Spark, Hive, Delta, dask and others write files of their own beside the data: `_SUCCESS`,
`_delta_log/`, `_metadata`, `.part-0.parquet.crc`. They begin with `_` or `.`, and readers of tables
pass over them, as this one does. A folder of a partition may begin so: `_region=eu/`.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.ports import BucketObject, Buckets


def table_objects(buckets: Buckets, prefix: str) -> Iterator[BucketObject]:
    """The objects with rows below a URL that ends in `/`, in byte order; empty ones have none."""
    for each in buckets.list(prefix):
        if each.bytes and holds_rows(each.url.removeprefix(prefix)):
            yield each


def holds_rows(path: str) -> bool:
    """Whether an object at this path below the prefix is a part of the table.

    >>> holds_rows("dt=2026-01-01/part-0.parquet"), holds_rows("_region=eu/part_0.csv")
    (True, True)
    >>> holds_rows("_delta_log/0.json"), holds_rows("dt=1/_SUCCESS"), holds_rows(".a.csv.crc")
    (False, False, False)
    """
    *folders, name = path.split("/")
    hidden = [folder for folder in folders if "=" not in folder] + [name]
    return not any(each.startswith(("_", ".")) for each in hidden)
