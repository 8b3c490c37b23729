"""Media types of stored objects and files, by file extension. Pure.

A file of a user gets the type of a table or archive, or none. As `text/html` or `image/svg+xml` a
browser would run it on the host of the bucket, if a presigned URL leads there.
"""

from __future__ import annotations

OCTETS = "application/octet-stream"
JSON = "application/json"
JSONL = "application/jsonl"
_FILES = {
    "csv": "text/csv",
    "gz": "application/gzip",  # whatever is in it: its bytes come out as they were sent
    "json": JSON,
    "jsonl": JSONL,
    "ndjson": JSONL,
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "tsv": "text/tab-separated-values",
    "zst": "application/zstd",
}
# Of names in `shared.object_keys`: parts of batches are lines of JSON, plots are drawn by the
# service.
_OBJECTS = {**_FILES, "in": JSONL, "out": JSONL, "svg": "image/svg+xml"}


def of_file(filename: str) -> str:
    """The media type of a file that a user names.

    >>> of_file("Rows 2026.CSV"), of_file("rows.csv.gz"), of_file("page.html"), of_file("csv")
    ('text/csv', 'application/gzip', 'application/octet-stream', 'application/octet-stream')
    """
    return _FILES.get(_ending(filename), OCTETS)


def of_object(name: str) -> str:
    """The media type of an object of the service, where it is not known otherwise.

    >>> of_object("jobs/a/j/job.json"), of_object("jobs/a/j/parts/00000001.in"), of_object("open/j")
    ('application/json', 'application/jsonl', 'application/octet-stream')
    """
    return _OBJECTS.get(_ending(name), OCTETS)


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return ending.lower() if stem and dot else ""
