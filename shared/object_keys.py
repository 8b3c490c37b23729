"""Where each object lies on the store: names only, no I/O.

jobs/{account}/{job}/request.json   what was accepted, with the first record of the job
jobs/{account}/{job}/result.json    the internal result
jobs/{account}/{job}/job.json       the last record of the job: its existence ends it
jobs/{account}/{job}/plots/{file}   drawings beside a result
jobs/{account}/{job}/upload         a file that the job reads
jobs/{account}/{job}/inputs.json    the objects that a batch reads, where they are not ours
jobs/{account}/{job}/items.jsonl    the objects that a batch classifies, a row for each
jobs/{account}/{job}/plan.json      what a batch's file holds, and its parts so far
jobs/{account}/{job}/done           the rows of its file that came out, here or before: a bit each
jobs/{account}/{job}/final          the rows that failed and that no retry cures: a bit each
jobs/{account}/{job}/retry.json       which job is the retry of a batch
jobs/{account}/{job}/parts/repeated the rows whose id came before
jobs/{account}/{job}/parts/{n}.in   the rows of a part
jobs/{account}/{job}/parts/{n}.out  what came out of it: a report, then lines
batches/{account}/{job}             says that the job is a batch
open/{job}                          marker of an accepted job that has not ended
deleted/{record}                    a record that is gone, whose objects open jobs may still read
idempotency/{account}/{sha256}.json what an Idempotency-Key was used for
calls/{account}/{sha256}.json       which job a call gets that is sent again, by key, path and body
keys/{sha256}.json                  an API key, by the hash of its secret
key_uses/{sha256}.json              when it was last used

classifiers/{account}/{id}/classifier.json              the record; it moves by compare-and-set
classifiers/{account}/{id}/used.json                    how often it was asked
classifiers/{account}/{id}/versions/{file}.safetensors  the weights of a version, immutable
classifiers/{account}/{id}/versions/{file}.json         its report, immutable
classifiers/{account}/{id}/examples/{version}.jsonl     what a version learnt, if it is kept
names/{account}/{sha256}.json                           whose a name is
files/{account}/{file}/file.json                        what is known of a file
files/{account}/{file}/content                          its bytes
uploads/{account}/{upload}/upload.json                  a file that is sent in parts
uploads/{account}/{upload}/parts/{part}                 the bytes of one of them
public/{id}                                             the owner of a public classifier

webhooks/{account}/{webhook}.json                whom to tell; it moves by compare-and-set
deliveries/{account}/{webhook}/{delivery}.json   what he is told, and how often it was tried
due/{ms}.{account}.{webhook}.{delivery}          when to try it next; the delivery decides
"""

from __future__ import annotations

JOBS = "jobs/"
OPEN = "open/"
KEYS = "keys/"
KEY_USES = "key_uses/"
IDEMPOTENCY = "idempotency/"
CALLS = "calls/"
CLASSIFIERS = "classifiers/"
FILES = "files/"
UPLOADS = "uploads/"
BATCHES = "batches/"
DELIVERIES = "deliveries/"
DUE = "due/"
DELETED = "deleted/"


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


def items(account: str, job: str) -> str:
    """The objects that a batch classifies, a row for each."""
    return f"{JOBS}{account}/{job}/items.jsonl"


def inputs(account: str, job: str) -> str:
    """The objects that a batch reads, where they are not ours."""
    return f"{JOBS}{account}/{job}/inputs.json"


def plan(account: str, job: str) -> str:
    """What a batch's file holds, and its parts so far."""
    return f"{JOBS}{account}/{job}/plan.json"


def done_rows(account: str, job: str) -> str:
    """The rows of a batch's file that came out, of this batch or of those that it retries."""
    return f"{JOBS}{account}/{job}/done"


def final_rows(account: str, job: str) -> str:
    """The rows of a batch's file that failed and that no retry cures; passed over where it is
    retried, but on request.
    """
    return f"{JOBS}{account}/{job}/final"


def retry(account: str, job: str) -> str:
    """Which job is the retry of a batch; written before that is accepted."""
    return f"{JOBS}{account}/{job}/retry.json"


def repeated_rows(account: str, job: str) -> str:
    """The rows of a batch's file whose id came before; gone when the batch has ended."""
    return f"{JOBS}{account}/{job}/parts/repeated"


def parts(account: str, job: str) -> str:
    """Prefix of the parts of a batch."""
    return f"{JOBS}{account}/{job}/parts/"


def part_rows(account: str, job: str, number: int) -> str:
    """The rows of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.in"


def part_result(account: str, job: str, number: int) -> str:
    """What came out of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.out"


def batches_of(account: str) -> str:
    """Prefix of what says which jobs of an account are batches, newest first."""
    return f"{BATCHES}{account}/"


def batch(account: str, job: str) -> str:
    """Says that a job is a batch: all of an account are listed without a look at its other jobs."""
    return f"{BATCHES}{account}/{job}"


def open_marker(job: str) -> str:
    """Says that the job was accepted and has not ended; holds the account's name."""
    return f"{OPEN}{job}"


def deletion(record: str) -> str:
    """What is known of a record that is gone; by its name."""
    return f"{DELETED}{record}"


def key(digest: str) -> str:
    """An API key's record, by the SHA-256 of its secret in hex."""
    return f"{KEYS}{digest}.json"


def key_digest(name: str) -> str:
    """The digest in the name of an API key's record."""
    return name.removeprefix(KEYS).removesuffix(".json")


def key_use(digest: str) -> str:
    """When an API key was last used, by the SHA-256 of its secret in hex."""
    return f"{KEY_USES}{digest}.json"


def idempotency(account: str, digest: str) -> str:
    """The use of an Idempotency-Key, by its SHA-256 in hex."""
    return f"{IDEMPOTENCY}{account}/{digest}.json"


def job_call(account: str, digest: str) -> str:
    """Which job a call gets that is sent again, by the SHA-256 of key, path and body in hex."""
    return f"{CALLS}{account}/{digest}.json"


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


def uploads_of(account: str) -> str:
    """Prefix of an account's uploads; the next segments are their ids, newest first."""
    return f"{UPLOADS}{account}/"


def upload_prefix(account: str, upload: str) -> str:
    """Prefix of everything a file that is sent in parts keeps until it is whole."""
    return f"{UPLOADS}{account}/{upload}/"


def upload_record(account: str, upload: str) -> str:
    """What is known of a file that is sent in parts; it moves by compare-and-set."""
    return f"{UPLOADS}{account}/{upload}/upload.json"


def upload_parts(account: str, upload: str) -> str:
    """Prefix of the parts that were sent."""
    return f"{UPLOADS}{account}/{upload}/parts/"


def upload_part(account: str, upload: str, part: str) -> str:
    """The bytes of one part."""
    return f"{UPLOADS}{account}/{upload}/parts/{part}"


def webhooks_of(account: str) -> str:
    """Prefix of an account's webhooks; what follows are their records."""
    return f"webhooks/{account}/"


def webhook(account: str, webhook: str) -> str:
    """The record of a webhook."""
    return f"webhooks/{account}/{webhook}.json"


def deliveries_to(account: str) -> str:
    """Prefix of an account's deliveries; the next segments are its webhooks."""
    return f"{DELIVERIES}{account}/"


def deliveries_of(account: str, webhook: str) -> str:
    """Prefix of a webhook's deliveries; what follows are their records, newest first."""
    return f"{DELIVERIES}{account}/{webhook}/"


def delivery(account: str, webhook: str, delivery: str) -> str:
    """The record of a delivery."""
    return f"{DELIVERIES}{account}/{webhook}/{delivery}.json"


def due(ms: int, account: str, webhook: str, delivery: str) -> str:
    """Says that a delivery is to be tried at a time, in milliseconds since 1970."""
    return f"{DUE}{ms:014d}.{account}.{webhook}.{delivery}"
