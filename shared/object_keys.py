"""Object keys: the name of every object on the object store. No I/O.

Those of retraining and feedback are in `shared.retraining_keys`.

jobs/{account}/{job}/request.json   the accepted request, with the first record of the job
jobs/{account}/{job}/result.json    the internal result
jobs/{account}/{job}/job.json       the final record of the job; it exists once the job has ended
jobs/{account}/{job}/plots/{file}   plots of an evaluation
jobs/{account}/{job}/upload         a file that the job reads
jobs/{account}/{job}/inputs.json    the objects of a bucket that a batch reads
jobs/{account}/{job}/items.jsonl    the objects that a batch classifies, a row for each
jobs/{account}/{job}/plan.json      the plan of a batch: its rows, and its parts so far
jobs/{account}/{job}/done           bitmap of the rows that succeeded, here or in a retried batch
jobs/{account}/{job}/final          bitmap of the failed rows that are not retryable
jobs/{account}/{job}/retry.json     the job that is the retry of a batch
jobs/{account}/{job}/parts/repeated bitmap of the rows whose id occurred before
jobs/{account}/{job}/parts/{n}.in   the rows of a part
jobs/{account}/{job}/parts/{n}.out  the result of a part: a report, then lines
batches/{account}/{job}             index of jobs that are batches
open/{job}                          marker of an accepted job that has not ended
deleted/{record}                    a deleted record, whose objects open jobs may still read
idempotency/{account}/{sha256}.json the idempotency record of an Idempotency-Key
calls/{account}/{sha256}.json       deduplication: the job of a repeated call, by key, path and body
accounts/{account}.json             the record of an account; changed by compare-and-set
suspended/{account}                 index of accounts whose jobs the keeper has to cancel
keys/{sha256}.json                  an API key, by the hash of its secret
key_index/{account}/{sha256}        index of the keys of an account
key_index/_built                    the index has the keys of versions without it, too
key_uses/{sha256}.json              when a key was last used
secrets/result_cache                the secret of the keys of the result cache

classifiers/{account}/{id}/classifier.json              the record; changed by compare-and-set
classifiers/{account}/{id}/used.json                    number of requests, and the last
classifiers/{account}/{id}/versions/{file}.safetensors  the weights of a version, immutable
classifiers/{account}/{id}/versions/{file}.json         its report, immutable
classifiers/{account}/{id}/examples/{version}.jsonl     stored examples of a version
classifiers/{account}/{id}/embeddings/{version}/{key}.npz  their embeddings by a model's revision
classifiers/{account}/{id}/evaluations/{file}/{sha256}.json  its result on examples, by their hash
names/{account}/{sha256}.json                           the classifier that has a name
files/{account}/{file}/file.json                        the record of a stored file
files/{account}/{file}/content                          its bytes
uploads/{account}/{upload}/upload.json                  the record of a multipart upload
uploads/{account}/{upload}/parts/{part}                 the bytes of an upload part
public/{id}                                             the owner of a public classifier

charges/{account}/{id}.json          a charge that is not in the statement yet, by its job
statements/{account}/{page}.json     a page of usage and balance, newest first

webhooks/{account}/{webhook}.json                the record; changed by compare-and-set
deliveries/{account}/{webhook}/{delivery}.json   the message, and its attempts
due/{ms}.{account}.{webhook}.{delivery}          index by the time of the next attempt
"""

from __future__ import annotations

JOBS = "jobs/"
OPEN = "open/"
ACCOUNTS = "accounts/"
SUSPENSIONS = "suspended/"
KEYS = "keys/"
KEY_INDEX_BUILT = "key_index/_built"  # no account id begins with _
KEY_USES = "key_uses/"
IDEMPOTENCY = "idempotency/"
CALLS = "calls/"
CLASSIFIERS = "classifiers/"
FILES = "files/"
UPLOADS = "uploads/"
TEXT_BATCHES = "text_batches/"
BATCHES = "batches/"
DELIVERIES = "deliveries/"
DUE = "due/"
DELETED = "deleted/"
RESULT_CACHE_SECRET = "secrets/result_cache"
CHARGES = "charges/"
STATEMENTS = "statements/"
_MAX_PAGE = 10**8 - 1


def jobs_of(account: str) -> str:
    """Prefix of an account's jobs; the next segments are job ids, newest first."""
    return f"{JOBS}{account}/"


def job_prefix(account: str, job: str) -> str:
    """Prefix of all objects of a job."""
    return f"{JOBS}{account}/{job}/"


def request(account: str, job: str) -> str:
    """The accepted request."""
    return f"{JOBS}{account}/{job}/request.json"


def result(account: str, job: str) -> str:
    """The internal result, written before the state of the job changes."""
    return f"{JOBS}{account}/{job}/result.json"


def job(account: str, job: str) -> str:
    """The final record, written once."""
    return f"{JOBS}{account}/{job}/job.json"


def plot(account: str, job: str, file: str) -> str:
    """A plot of an evaluation."""
    return f"{JOBS}{account}/{job}/plots/{file}"


def upload(account: str, job: str) -> str:
    """A file that the job reads."""
    return f"{JOBS}{account}/{job}/upload"


def items(account: str, job: str) -> str:
    """The objects that a batch classifies, one row for each."""
    return f"{JOBS}{account}/{job}/items.jsonl"


def inputs(account: str, job: str) -> str:
    """The objects that a batch reads from a bucket."""
    return f"{JOBS}{account}/{job}/inputs.json"


def plan(account: str, job: str) -> str:
    """The plan of a batch."""
    return f"{JOBS}{account}/{job}/plan.json"


def done_rows(account: str, job: str) -> str:
    """Bitmap of the rows that succeeded, in this batch or in the batches that it retries."""
    return f"{JOBS}{account}/{job}/done"


def final_rows(account: str, job: str) -> str:
    """Bitmap of the failed rows that are not retryable; a retry skips them by default."""
    return f"{JOBS}{account}/{job}/final"


def retry(account: str, job: str) -> str:
    """The job that retries a batch; written before that job is accepted."""
    return f"{JOBS}{account}/{job}/retry.json"


def repeated_rows(account: str, job: str) -> str:
    """Bitmap of the rows whose id occurred before; deleted when the batch has ended."""
    return f"{JOBS}{account}/{job}/parts/repeated"


def parts(account: str, job: str) -> str:
    """Prefix of the parts of a batch."""
    return f"{JOBS}{account}/{job}/parts/"


def part_rows(account: str, job: str, number: int) -> str:
    """The rows of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.in"


def part_result(account: str, job: str, number: int) -> str:
    """The result of a part."""
    return f"{JOBS}{account}/{job}/parts/{number:08d}.out"


def batches_of(account: str) -> str:
    """Prefix of the index of an account's batches, newest first."""
    return f"{BATCHES}{account}/"


def batch(account: str, job: str) -> str:
    """Index entry of a batch: it lists the batches of an account without reading other jobs."""
    return f"{BATCHES}{account}/{job}"


def open_marker(job: str) -> str:
    """Marker of an accepted job that has not ended; holds the account's name."""
    return f"{OPEN}{job}"


def deletion(record: str) -> str:
    """The record of a deletion, by the name of the deleted record."""
    return f"{DELETED}{record}"


def account(account: str) -> str:
    """The record of an account."""
    return f"{ACCOUNTS}{account}.json"


def suspension(account: str) -> str:
    """Index entry of an account whose jobs the keeper has to cancel."""
    return f"{SUSPENSIONS}{account}"


def key(digest: str) -> str:
    """An API key's record, by the SHA-256 of its secret in hex."""
    return f"{KEYS}{digest}.json"


def key_digest(name: str) -> str:
    """The digest in the name of an API key's record."""
    return name.removeprefix(KEYS).removesuffix(".json")


def keys_of(account: str) -> str:
    """Prefix of the index of an account's keys; the next segments are the digests."""
    return f"key_index/{account}/"


def key_of(account: str, digest: str) -> str:
    """Index entry of a key of an account."""
    return f"key_index/{account}/{digest}"


def key_use(digest: str) -> str:
    """When an API key was last used, by the SHA-256 of its secret in hex."""
    return f"{KEY_USES}{digest}.json"


def idempotency(account: str, digest: str) -> str:
    """An idempotency record, by the SHA-256 of its key in hex."""
    return f"{IDEMPOTENCY}{account}/{digest}.json"


def job_call(account: str, digest: str) -> str:
    """The job of a repeated call, by the SHA-256 of key, path and body in hex."""
    return f"{CALLS}{account}/{digest}.json"


def classifiers_of(account: str) -> str:
    """Prefix of an account's classifiers; the next segments are their ids."""
    return f"{CLASSIFIERS}{account}/"


def classifier_prefix(account: str, classifier: str) -> str:
    """Prefix of all objects of a classifier."""
    return f"{CLASSIFIERS}{account}/{classifier}/"


def classifier(account: str, classifier: str) -> str:
    """The record of a classifier."""
    return f"{CLASSIFIERS}{account}/{classifier}/classifier.json"


def used(account: str, classifier: str) -> str:
    """Number of requests of a classifier, and the time of the last."""
    return f"{CLASSIFIERS}{account}/{classifier}/used.json"


def versions(account: str, classifier: str) -> str:
    """Prefix of the weights and reports of a classifier."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/"


def weights(account: str, classifier: str, file: str) -> str:
    """The weights of one version."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/{file}.safetensors"


def report(account: str, classifier: str, file: str) -> str:
    """The report of one version: everything but its weights."""
    return f"{CLASSIFIERS}{account}/{classifier}/versions/{file}.json"


def evaluations(account: str, classifier: str, file: str) -> str:
    """Prefix of the results of a version on examples."""
    return f"{CLASSIFIERS}{account}/{classifier}/evaluations/{file}/"


def evaluation(account: str, classifier: str, file: str, digest: str) -> str:
    """The result of a version on examples, by their SHA-256 in hex."""
    return f"{CLASSIFIERS}{account}/{classifier}/evaluations/{file}/{digest}.json"


def examples(account: str, classifier: str) -> str:
    """Prefix of the stored examples."""
    return f"{CLASSIFIERS}{account}/{classifier}/examples/"


def examples_of(account: str, classifier: str, version: int) -> str:
    """Stored examples of one version; keys sort by version."""
    return f"{CLASSIFIERS}{account}/{classifier}/examples/{version:09d}.jsonl"


def embeddings(account: str, classifier: str) -> str:
    """Prefix of the embeddings of the stored examples."""
    return f"{CLASSIFIERS}{account}/{classifier}/embeddings/"


def embeddings_of(account: str, classifier: str, version: int) -> str:
    """Prefix of the embeddings of the stored examples of one version."""
    return f"{embeddings(account, classifier)}{version:09d}/"


def name(account: str, digest: str) -> str:
    """The classifier that has a name, by the SHA-256 of the name in hex."""
    return f"names/{account}/{digest}.json"


def public(classifier: str) -> str:
    """The owner of a public classifier."""
    return f"public/{classifier}"


def files_of(account: str) -> str:
    """Prefix of an account's files; the next segments are file ids, newest first."""
    return f"{FILES}{account}/"


def file_prefix(account: str, file: str) -> str:
    """Prefix of all objects of a file."""
    return f"{FILES}{account}/{file}/"


def file(account: str, file: str) -> str:
    """The record of a file. A file exists once this object does."""
    return f"{FILES}{account}/{file}/file.json"


def file_content(account: str, file: str) -> str:
    """The bytes of a file."""
    return f"{FILES}{account}/{file}/content"


def text_batches_of(account: str) -> str:
    """Prefix of an account's batches of texts; the next segments are their ids, newest first."""
    return f"{TEXT_BATCHES}{account}/"


def text_batch(account: str, batch: str) -> str:
    """The record of a batch of texts; changed by compare-and-set."""
    return f"{TEXT_BATCHES}{account}/{batch}/batch.json"


def uploads_of(account: str) -> str:
    """Prefix of an account's uploads; the next segments are their ids, newest first."""
    return f"{UPLOADS}{account}/"


def upload_prefix(account: str, upload: str) -> str:
    """Prefix of all objects of a multipart upload, until it is completed."""
    return f"{UPLOADS}{account}/{upload}/"


def upload_record(account: str, upload: str) -> str:
    """The record of a multipart upload; changed by compare-and-set."""
    return f"{UPLOADS}{account}/{upload}/upload.json"


def upload_parts(account: str, upload: str) -> str:
    """Prefix of the upload parts."""
    return f"{UPLOADS}{account}/{upload}/parts/"


def upload_part(account: str, upload: str, part: str) -> str:
    """The bytes of one upload part."""
    return f"{UPLOADS}{account}/{upload}/parts/{part}"


def webhooks_of(account: str) -> str:
    """Prefix of an account's webhooks; the next segments are their records."""
    return f"webhooks/{account}/"


def webhook(account: str, webhook: str) -> str:
    """The record of a webhook."""
    return f"webhooks/{account}/{webhook}.json"


def deliveries_to(account: str) -> str:
    """Prefix of an account's deliveries; the next segments are its webhooks."""
    return f"{DELIVERIES}{account}/"


def deliveries_of(account: str, webhook: str) -> str:
    """Prefix of a webhook's deliveries; the next segments are their records, newest first."""
    return f"{DELIVERIES}{account}/{webhook}/"


def delivery(account: str, webhook: str, delivery: str) -> str:
    """The record of a delivery."""
    return f"{DELIVERIES}{account}/{webhook}/{delivery}.json"


def due(ms: int, account: str, webhook: str, delivery: str) -> str:
    """Index entry of a delivery that is due at a time, in milliseconds since 1970."""
    return f"{DUE}{ms:014d}.{account}.{webhook}.{delivery}"


def charges_of(account: str) -> str:
    """Prefix of an account's charges that are not in its statement yet."""
    return f"{CHARGES}{account}/"


def charge(account: str, charge: str) -> str:
    """A charge, by the id of its job, or of the flush of a process."""
    return f"{CHARGES}{account}/{charge}.json"


def statement(account: str) -> str:
    """Prefix of the pages of an account's statement, newest first."""
    return f"{STATEMENTS}{account}/"


def statement_page(account: str, number: int) -> str:
    """A page of an account's statement, by its number from 0."""
    return f"{STATEMENTS}{account}/{_MAX_PAGE - number:08d}.json"
