"""Where each object lies on the store: names only, no I/O.

jobs/{account}/{job}/request.json   what was accepted, with the first record of the job
jobs/{account}/{job}/result.json    the internal result
jobs/{account}/{job}/job.json       the last record of the job: its existence ends it
open/{job}                          marker of an accepted job that has not ended
idempotency/{account}/{sha256}.json what an Idempotency-Key was used for
keys/{sha256}.json                  an API key, by the hash of its secret
"""

from __future__ import annotations

JOBS = "jobs/"
OPEN = "open/"
KEYS = "keys/"
IDEMPOTENCY = "idempotency/"


def jobs_of(account: str) -> str:
    """Prefix of an account's jobs; the next segments are job ids, newest first."""
    return f"{JOBS}{account}/"


def job_prefix(account: str, job: str) -> str:
    """Prefix of everything a job keeps."""
    return f"{JOBS}{account}/{job}/"


def request(account: str, job: str) -> str:
    """What was accepted."""
    return f"{JOBS}{account}/{job}/request.json"


def result(account: str, job: str) -> str:
    """The internal result, written before the job's state says so."""
    return f"{JOBS}{account}/{job}/result.json"


def job(account: str, job: str) -> str:
    """The final record, written once."""
    return f"{JOBS}{account}/{job}/job.json"


def open_marker(job: str) -> str:
    """Says that the job was accepted and has not ended; holds the account's name."""
    return f"{OPEN}{job}"


def key(digest: str) -> str:
    """An API key's record, by the SHA-256 of its secret in hex."""
    return f"{KEYS}{digest}.json"


def idempotency(account: str, digest: str) -> str:
    """The use of an Idempotency-Key, by its SHA-256 in hex."""
    return f"{IDEMPOTENCY}{account}/{digest}.json"
