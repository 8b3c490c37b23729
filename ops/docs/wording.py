"""The sentences of the generated tables that no other module holds, by the names of the code."""

from __future__ import annotations

LIMITS = {
    "max_inputs": "inputs of one request",
    "max_input_tokens": "tokens of one input",
    "max_labels": "labels of one question",
    "max_pairs": "pairs of a text, or of a window of a document, and a label in one request of the "
    "engines `nli` and `hybrid`",
    "max_label_tokens": "tokens of the labels, descriptions and examples of one question",
    "max_groups": "label groups of one request",
    "max_label_chars": "characters of a label or of the name of a label group",
    "max_description_chars": "characters of a description, of the template, of a label's example",
    "max_label_examples": "examples of labels in one classify request",
    "max_examples": "examples of one train or evaluate call",
    "max_num_iters": "iterations over one example",
    "max_classifier_labels": "labels of one classifier",
    "max_classifiers": "classifiers of one account",
    "versions_kept": "versions of a classifier that are kept, besides those that an alias names",
    "max_import_bytes": "bytes of an imported classifier file",
    "max_body_bytes": "bytes of the body of a classify, train or evaluate call",
    "BATCH_BODY_BYTES": "bytes of the body that creates a batch",
    "SMALL_BODY_BYTES": "bytes of every other body, except files",
    "max_file_bytes": "bytes of an uploaded file",
    "max_row_bytes": "bytes of one row of a batch file",
    "MAX_COLUMNS": "columns of a table",
    "request_timeout_s": "seconds that a synchronous call waits",
    "max_queued_calls": "synchronous calls that wait in one queue; accounts share it evenly",
    "CLASSIFY_SLOTS": "classify calls that one API process runs at once",
    "upload_threads": "files that one API process receives at once",
    "max_bodies_bytes": "bytes of request bodies above 64 KiB that one API process holds at once",
    "max_address_connections": "connections of one client address to one API process",
    "max_address_requests": "requests of one client address that one API process runs at once",
    "max_account_parts": "parts of one account's batches that run at once in one queue",
    "inline_result_bytes": "bytes of a result inside a job object",
    "max_images": "images of one item",
    "max_image_bytes": "bytes of an image",
    "max_document_bytes": "bytes of a document",
    "max_pages": "pages read of a document",
    "max_document_tokens": "tokens of the text of a document",
    "decode_limit_s": "processor seconds to decode an image or a document, or the next rows of a "
    "Parquet file",
    "decoder_bytes": "bytes of memory to decode one of them",
    "fetch_timeout_s": "seconds to fetch a URL completely",
    "result_retention_s": "seconds that a job and its result are kept",
    "file_retention_s": "seconds that an uploaded file is kept",
    "idempotency_retention_s": "seconds that an `Idempotency-Key` is remembered",
    "MAX_CHARS": "characters of an `Idempotency-Key`",
}
"""What each limit bounds, by its setting or by its name in `tables.FIXED`."""

FIXED_BY = {"CLASSIFY_SLOTS": "`PIGEONHOLE_API_THREADS` less 16"}
"""What a limit that has no setting of its own follows from."""

ERRORS = {
    (400, "INPUT_MODEL_NOT_FOUND"): "The model is unknown, or no running worker holds it. The "
    "detail lists the known models, or says how to install the model.",
    (400, "INPUT_INVALID_LABELS"): "There are fewer than two distinct labels.",
    (400, "INPUT_LABEL_LIMIT_EXCEEDED"): "There are too many labels or label groups.",
    (400, "INPUT_TOKEN_LIMIT_EXCEEDED"): "An input, or the labels of a question, have too many "
    "tokens; `errors` names the place.",
    (400, "INPUT_FETCH_FAILED"): "A URL could not be fetched; the detail gives the reason.",
    (401, "AUTH_MISSING_API_KEY"): "The request has no key.",
    (401, "AUTH_INVALID_FORMAT"): "The header is not `Authorization: Bearer <key>`.",
    (401, "AUTH_INVALID_API_KEY"): "The key is unknown, revoked or expired.",
    (402, "AUTHZ_INSUFFICIENT_BALANCE"): "As 403 with this code, in the Classer API.",
    (403, "AUTHZ_INSUFFICIENT_BALANCE"): "The account has no tokens left, or fewer than the batch "
    "is estimated to need. Ask the operator for a grant.",
    (403, "AUTHZ_RESOURCE_LIMIT_EXCEEDED"): "The account has the maximum number of classifiers or "
    "webhooks.",
    (403, "AUTHZ_SCOPE_NOT_ALLOWED"): "The key is limited to other scopes.",
    (403, "AUTHZ_SERVICE_NOT_ALLOWED"): "The key is limited to other services.",
    (403, "AUTHZ_ACCOUNT_SUSPENDED"): "The operator has suspended the account.",
    (404, "RESOURCE_NOT_FOUND"): "The path, job, file, batch, classifier, version or webhook does "
    "not exist, or belongs to another account.",
    (405, "METHOD_NOT_ALLOWED"): "The path exists, but not for this method.",
    (408, "REQUEST_TIMEOUT"): "The body arrives too slowly. The server closes the connection.",
    (409, "CONFLICT_RESOURCE_BUSY"): "The state of the job or batch forbids the call; the name is "
    "in use; the classifier belongs to another model or revision, or too many calls train it at "
    "once; or the first call with the `Idempotency-Key` is still running.",
    (412, "VALIDATION_ERROR"): "The file has another `ETag` than `If-Match` names.",
    (413, "VALIDATION_ERROR"): "The body is larger than this path allows; the detail gives the "
    "limit.",
    (415, "VALIDATION_ERROR"): "This path does not decode the `Content-Encoding` of the body; "
    "`Accept-Encoding` lists the encodings that it decodes.",
    (416, "VALIDATION_ERROR"): "The file has none of the bytes that `Range` requests; "
    "`Content-Range` gives its size.",
    (422, "VALIDATION_ERROR"): "A field is wrong; `errors` names each wrong field.",
    (422, "INPUT_LABELS_REQUIRED"): "The request has neither labels nor a classifier.",
    (422, "INPUT_UNREADABLE"): "An image or a document cannot be decoded; the detail gives the "
    "reason.",
    (429, "RATE_CONCURRENCY_LIMIT_EXCEEDED"): "Too many calls wait, or too many come from this "
    "address or run for this account, or its batches have too many rows under way. Retry after "
    "`Retry-After` seconds.",
    (429, "RATE_REQUEST_LIMIT_EXCEEDED"): "The account has made the requests that its tier allows "
    "in a minute. Retry after `Retry-After` seconds.",
    (429, "RATE_TOKEN_LIMIT_EXCEEDED"): "The request has more tokens than the tier of the account "
    "has left this minute. Retry after `Retry-After` seconds. Without that header the request "
    "never fits into a minute: send fewer inputs, or a batch.",
    (429, "RATE_WRONG_KEY_LIMIT_EXCEEDED"): "The address has sent more than 30 wrong keys within "
    "a minute. Valid keys are not affected.",
    (500, "INTERNAL_ERROR"): "A fault of the service. Its log has the cause under the request id.",
    (503, "SERVICE_UNAVAILABLE"): "A component is down, no worker of a fitting device runs, or too "
    "many large bodies are being read. Retry after `Retry-After` seconds.",
    (504, "SERVICE_TIMEOUT"): "No answer within the time limit.",
    (507, "STORAGE_FULL"): "The disk of the object store or of Redis is full, and nothing was "
    "stored. Calls that need no storage, such as zero-shot calls, still work.",
}
"""What causes each error, by status and code."""

METRICS = {
    "pigeonhole_http_requests_total": ("API", "Answered HTTP requests."),
    "pigeonhole_http_request_seconds": (
        "API",
        "Seconds from the headers of a request to its response.",
    ),
    "pigeonhole_charges_posted_total": (
        "keeper",
        "Charges of jobs and of synchronous calls that were added to statements.",
    ),
    "pigeonhole_queue_waiting": (
        "API",
        "Calls and jobs with ready tasks that wait, by queue (device and lane) and by model of the "
        "catalogue; what waits for a model that has left it is `other`. Every API process exposes "
        "the same number: take the maximum over them, then the sum.",
    ),
    "pigeonhole_live_processes": (
        "API",
        "Living workers and keepers, the same number from every API process.",
    ),
    "pigeonhole_cache_bytes": (
        "worker",
        "Bytes in the caches of label prompts, measured label sets and classifiers; "
        "each has a limit.",
    ),
    "pigeonhole_clock_offset_seconds": (
        "API, worker, keeper",
        "Seconds that the machine's clock is ahead of Redis. The API exposes the worst value "
        "of each role.",
    ),
    "pigeonhole_forward_pass_seconds": ("worker", "Seconds of one forward pass."),
    "pigeonhole_forward_pass_tokens_total": (
        "worker",
        "Tokens that a model processed: `content`, and `padding` besides.",
    ),
    "pigeonhole_jobs_ended_total": (
        "worker, keeper",
        'Jobs that the process has ended. Batches are `kind="batch"`; trainings are `train`, '
        "`rebuild`, `import` and `retrain`; the others are `classify`, `evaluate` and `dry_run`. "
        "States are `succeeded`, `failed`, `cancelled` and `expired`. A batch with failed rows has "
        "succeeded.",
    ),
    "pigeonhole_job_seconds": (
        "worker, keeper",
        "Seconds from a job's start to its end, without its wait.",
    ),
    "pigeonhole_rows_total": (
        "worker, keeper",
        "Rows of batches, examples of trainings, items of other jobs and of synchronous calls"
        ' (`kind="call"`; the probe of `/health/ready` is one), counted when the job or call '
        "ends: `ok` or `failed`. Calls that are refused as a whole are not counted.",
    ),
    "pigeonhole_usage_tokens_total": (
        "worker, keeper",
        "Charged tokens, by `kind` as above: of `inputs`, of `labels` and of `training`.",
    ),
    "pigeonhole_webhook_attempts_total": (
        "keeper",
        "Attempts to deliver a message: `delivered`; `retried`, if another attempt follows; "
        "`failed`, if none follows.",
    ),
    "pigeonhole_webhook_attempt_seconds": ("keeper", "Seconds of one attempt, answered or not."),
    "pigeonhole_leases_expired_total": (
        "keeper",
        "Expired leases of silent workers whose tasks were requeued.",
    ),
    "pigeonhole_messages_dropped_total": (
        "worker",
        "Messages in Celery queues that were no doorbells.",
    ),
}
"""The processes that expose each metric, and what its value is."""
