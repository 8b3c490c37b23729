"""The calls about files and batches, as the table of all calls has them."""

from __future__ import annotations

from functools import partial

from api.http.event_stream import EVENTS
from api.http.multipart import MULTIPART
from api.http.streaming_response import FILE_TYPE
from api.openapi.model import (
    BATCH_ID,
    DOWNLOAD_HEADERS,
    DRY_RUN,
    FILE_ID,
    IDEMPOTENCY_KEY,
    IF_RANGE,
    LAST_EVENT_ID,
    METADATA,
    ORDER,
    PREFER,
    PURPOSE,
    RANGE,
    UPLOAD_ID,
    Operation,
    after,
    choice,
    limit,
)
from api.schemas.job import JobObject
from api.schemas.openai.batch import STATUSES, BatchList, BatchObject
from api.schemas.openai.dry_run import DryRunAnswer
from api.schemas.openai.error import OpenAIError
from api.schemas.openai.file import FileBody, FileDeleted, FileList, FileObject
from api.schemas.openai.new_batch import BatchBody
from api.schemas.openai.retry import RetryBody
from api.schemas.openai.upload import (
    CompleteUploadBody,
    NewUploadBody,
    PartUrlsBody,
    UploadObject,
    UploadPart,
    UploadPartBody,
    UploadPartUrls,
)
from shared.media_types import JSONL
from shared.types import JobKind

_KEYED = (401, 403, 429, 500, 503, 507)
_call = partial(Operation, fault=OpenAIError)
_REPLAYED: dict[int, tuple[str, ...]] = {200: ("Idempotent-Replayed",)}
_DRY = {
    200: ("Idempotent-Replayed", "Preference-Applied"),
    202: ("Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After"),
}

OPERATIONS = (
    _call(
        method="post",
        path="/v1/files",
        scope="classify",
        name="sendFile",
        summary="Send a file for a batch: JSONL, CSV or Parquet, also gzip or zstd.",
        uploads={MULTIPART: FileBody},
        parameters=(IDEMPOTENCY_KEY,),
        answers={200: FileObject},
        headers=_REPLAYED,
        problems=(400, *_KEYED, 409, 413, 415, 422, 429),
    ),
    _call(
        method="get",
        path="/v1/files",
        scope="classify",
        name="listFiles",
        summary="Your files, those that batches have made among them.",
        parameters=(after("file-"), limit(default=100, most=10_000), PURPOSE, ORDER),
        answers={200: FileList},
        problems=(400, *_KEYED),
    ),
    _call(
        method="get",
        path="/v1/files/{file_id}",
        scope="classify",
        name="getFile",
        summary="What is known of a file.",
        parameters=(FILE_ID,),
        answers={200: FileObject},
        problems=(*_KEYED, 404),
    ),
    _call(
        method="get",
        path="/v1/files/{file_id}/content",
        scope="classify",
        name="getFileContent",
        summary="The bytes of a file.",
        parameters=(FILE_ID, RANGE, IF_RANGE),
        answers={200: FILE_TYPE, 206: FILE_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(*_KEYED, 404, 412, 416, 429),
    ),
    _call(
        method="delete",
        path="/v1/files/{file_id}",
        scope="classify",
        name="deleteFile",
        summary="Delete a file; jobs that were accepted before still read it.",
        parameters=(FILE_ID,),
        answers={200: FileDeleted},
        problems=(*_KEYED, 404),
    ),
    _call(
        method="post",
        path="/v1/uploads",
        scope="classify",
        name="createUpload",
        summary="Begin a file that is sent in parts; it must be completed within a day.",
        body=NewUploadBody,
        answers={200: UploadObject},
        problems=(400, *_KEYED, 413, 415),
    ),
    _call(
        method="post",
        path="/v1/uploads/{upload_id}/parts",
        scope="classify",
        name="sendUploadPart",
        summary="Send a part; several may be sent at once.",
        uploads={MULTIPART: UploadPartBody},
        parameters=(UPLOAD_ID,),
        answers={200: UploadPart},
        problems=(400, *_KEYED, 404, 409, 413, 415, 429),
    ),
    _call(
        method="post",
        path="/v1/uploads/{upload_id}/part_urls",
        scope="classify",
        name="createUploadPartUrls",
        summary="URLs that take parts straight to the object store, where that is on S3.",
        body=PartUrlsBody,
        parameters=(UPLOAD_ID,),
        answers={200: UploadPartUrls},
        problems=(400, *_KEYED, 404, 409, 413, 415),
    ),
    _call(
        method="post",
        path="/v1/uploads/{upload_id}/complete",
        scope="classify",
        name="completeUpload",
        summary="Make the file of its parts.",
        body=CompleteUploadBody,
        parameters=(UPLOAD_ID,),
        answers={200: UploadObject},
        problems=(400, *_KEYED, 404, 409, 413, 415, 429),
    ),
    _call(
        method="post",
        path="/v1/uploads/{upload_id}/cancel",
        scope="classify",
        name="cancelUpload",
        summary="End an upload without a file.",
        parameters=(UPLOAD_ID,),
        answers={200: UploadObject},
        problems=(*_KEYED, 404, 409),
    ),
    _call(
        method="post",
        path="/v1/batches",
        scope="classify",
        name="createBatch",
        summary="Work through a file: one question for all its rows, or a request in each line.",
        body=BatchBody,
        parameters=(DRY_RUN, PREFER, IDEMPOTENCY_KEY),
        answers={200: (BatchObject, DryRunAnswer), 202: JobObject},
        headers=_DRY,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422, 504),
    ),
    _call(
        method="get",
        path="/v1/batches",
        scope="classify",
        name="listBatches",
        summary="Your batches, newest first.",
        parameters=(
            after("batch_"),
            limit(default=20, most=100),
            choice("kind", "`batch`, as in the list of jobs.", [JobKind.BATCH]),
            choice("status", "Only batches of this status.", STATUSES),
            METADATA,
        ),
        about="With filters a page may have fewer batches than `limit`, or none, as that of jobs.",
        answers={200: BatchList},
        problems=(400, *_KEYED),
    ),
    _call(
        method="get",
        path="/v1/batches/{batch_id}",
        scope="classify",
        name="getBatch",
        summary="A batch as it stands.",
        parameters=(BATCH_ID,),
        answers={200: BatchObject},
        problems=(*_KEYED, 404),
    ),
    _call(
        method="post",
        path="/v1/batches/{batch_id}/cancel",
        scope="classify",
        name="cancelBatch",
        summary="End a batch; what is finished is kept.",
        parameters=(BATCH_ID,),
        answers={200: BatchObject},
        problems=(*_KEYED, 404, 409),
    ),
    _call(
        method="post",
        path="/v1/batches/{batch_id}/retry",
        scope="classify",
        name="retryBatch",
        summary="Run again what did not come out of a batch that has ended, as a new batch.",
        about="Rows that failed for a reason that no retry cures are left out, unless `rows` is "
        "`all`. Where no row is left it is 409.",
        body=RetryBody,
        body_required=False,
        parameters=(BATCH_ID, IDEMPOTENCY_KEY),
        answers={200: BatchObject},
        headers=_REPLAYED,
        problems=(400, *_KEYED, 404, 409, 413, 415, 422),
    ),
    _call(
        method="get",
        path="/v1/batches/{batch_id}/events",
        scope="classify",
        name="followBatch",
        summary="A batch as it goes on: an event whenever its counts or its status change.",
        parameters=(BATCH_ID, LAST_EVENT_ID),
        answers={200: EVENTS, 204: ()},
        problems=(*_KEYED, 404, 429),
    ),
    _call(
        method="get",
        path="/v1/batches/{batch_id}/output",
        scope="classify",
        name="getBatchOutput",
        summary="What came out so far, as JSON lines; the output file once the batch has ended.",
        about="While the batch runs the lines come as they are, without ranges.",
        parameters=(BATCH_ID, RANGE, IF_RANGE),
        answers={200: (JSONL, FILE_TYPE), 206: FILE_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(*_KEYED, 404, 412, 416, 429),
    ),
)
