"""Where each object lies on the store: names only, no I/O.

jobs/{account}/{job}/request.json   what was accepted, with the first record of the job
jobs/{account}/{job}/result.json    the internal result
jobs/{account}/{job}/job.json       the last record of the job: its existence ends it
jobs/{account}/{job}/plots/{file}   drawings beside a result
jobs/{account}/{job}/upload         a file that the job reads
jobs/{account}/{job}/plan.json      what a batch's file holds, and its parts so far
jobs/{account}/{job}/parts/{n}.in   the rows of a part
jobs/{account}/{job}/parts/{n}.out  what came out of it: a report, then lines
open/{job}                          marker of an accepted job that has not ended
idempotency/{account}/{sha256}.json what an Idempotency-Key was used for
keys/{sha256}.json                  an API key, by the hash of its secret

classifiers/{account}/{id}/classifier.json              the record; it moves by compare-and-set
classifiers/{account}/{id}/used.json                    how often it was asked
classifiers/{account}/{id}/versions/{file}.safetensors  the weights of a version, immutable
classifiers/{account}/{id}/versions/{file}.json         its report, immutable
classifiers/{account}/{id}/examples/{version}.jsonl     what a version learnt, if it is kept
names/{account}/{sha256}.json                           whose a name is
files/{account}/{file}/file.json                        what is known of a file
files/{account}/{file}/content                          its bytes
public/{id}                                             the owner of a public classifier
"""

from __future__ import annotations

JOBS = "jobs/"
OPEN = "open/"
KEYS = "keys/"
IDEMPOTENCY = "idempotency/"
CLASSIFIERS = "classifiers/"
FILES = "files/"


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


def plot(account: str, job: str, file: str) -> str:
    """A drawing beside a result."""
    return f"{JOBS}{account}/{job}/plots/{file}"


def upload(account: str, job: str) -> str:
    """A file that the job reads."""
    return f"{JOBS}{account}/{job}/upload"


def plan(account: str, job: str) -> str:
    """What a batch's file holds, and its parts so far."""
    return f"{JOBS}{account}/{job}/plan.json"


def parts(account: str, job: str) -> str:
    """Prefix of the parts of a batch."""
    return f"{JOBS}{account}/{job}/parts/"


def part_rows(account: str, job: str, number: int) -> str:
    """The rows of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.in"


def part_result(account: str, job: str, number: int) -> str:
    """What came out of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.out"


def open_marker(job: str) -> str:
    """Says that the job was accepted and has not ended; holds the account's name."""
    return f"{OPEN}{job}"


def key(digest: str) -> str:
    """An API key's record, by the SHA-256 of its secret in hex."""
    return f"{KEYS}{digest}.json"


def idempotency(account: str, digest: str) -> str:
    """The use of an Idempotency-Key, by its SHA-256 in hex."""
    return f"{IDEMPOTENCY}{account}/{digest}.json"


def classifiers_of(account: str) -> str:
    """Prefix of an account's classifiers; the next segments are their ids."""
    return f"{CLASSIFIERS}{account}/"


def classifier_prefix(account: str, classifier: str) -> str:
    """Prefix of everything a classifier keeps."""
    return f"{CLASSIFIERS}{account}/{classifier}/"


def classifier(account: str, classifier: str) -> str:
    """The record of a classifier."""
    return f"{CLASSIFIERS}{account}/{classifier}/classifier.json"


def used(account: str, classifier: str) -> str:
    """How often a classifier was asked, and when last."""
    return f"{CLASSIFIERS}{account}/{classifier}/used.json"


def versions(account: str, classifier: str) -> str:
    """Prefix of the weights and reports of a classifier."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/"


def weights(account: str, classifier: str, file: str) -> str:
    """The weights of one version."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/{file}.safetensors"


def report(account: str, classifier: str, file: str) -> str:
    """What is known of one version but its weights."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/{file}.json"


def examples(account: str, classifier: str) -> str:
    """Prefix of the examples that were kept."""
    return f"{CLASSIFIERS}{account}/{classifier}/examples/"


def examples_of(account: str, classifier: str, version: int) -> str:
    """What one version learnt; sorts by version."""
    return f"{CLASSIFIERS}{account}/{classifier}/examples/{version:09d}.jsonl"


def name(account: str, digest: str) -> str:
    """Whose a name is, by its SHA-256 in hex."""
    return f"names/{account}/{digest}.json"


def public(classifier: str) -> str:
    """The owner of a public classifier."""
    return f"public/{classifier}"


def files_of(account: str) -> str:
    """Prefix of an account's files; the next segments are file ids, newest first."""
    return f"{FILES}{account}/"


def file_prefix(account: str, file: str) -> str:
    """Prefix of everything a file keeps."""
    return f"{FILES}{account}/{file}/"


def file(account: str, file: str) -> str:
    """What is known of a file; it is there once this is."""
    return f"{FILES}{account}/{file}/file.json"


def file_content(account: str, file: str) -> str:
    """The bytes of a file."""
    return f"{FILES}{account}/{file}/content"
