"""Uses a Python client made by openapi-generator, as it comes out."""

from __future__ import annotations

import os

from openapi_client import (
    ApiClient,
    BatchBody,
    BatchBodyClassify,
    BatchBodyClassifyLabels,
    BatchesApi,
    ClassifyApi,
    ClassifyBody,
    ClassifyBodyInput,
    CompleteUploadBody,
    Configuration,
    FilesApi,
    ItemInput,
    LabelledInput,
    NewUploadBody,
    TrainApi,
    TrainBody,
    UploadsApi,
)
from openapi_client.exceptions import ApiException

ROWS = b"id,text\n1,a red rose\n2,a green leaf\n"
LABELS = ["red", "green"]

configuration = Configuration(host=os.environ["URL"], access_token=os.environ["KEY"])
with ApiClient(configuration) as client:
    labels = BatchBodyClassifyLabels(LABELS)
    for texts in (["a red rose"], "a red rose", [ItemInput(text="a red rose")]):
        body = ClassifyBody(input=ClassifyBodyInput(texts), labels=labels)
        answered = ClassifyApi(client).classify(body).actual_instance  # of two shapes, by the body
        assert answered.data[0].object == "classification"

    examples = [LabelledInput(label=label, text=f"something {label}") for label in LABELS]
    trained = TrainApi(client).train(TrainBody(input=examples))
    assert trained.labels == LABELS

    alone = BatchBodyClassifyLabels(["red"])
    body = ClassifyBody(input=ClassifyBodyInput("a"), labels=alone)
    code = ""
    try:
        ClassifyApi(client).classify(body)
    except ApiException as refused:
        code = refused.data.code
    assert code, "one label was not refused"

    sent = FilesApi(client).send_file(file=("rows.csv", ROWS), purpose="batch")
    assert sent.bytes == len(ROWS)

    new = NewUploadBody(bytes=len(ROWS), filename="rows.csv", purpose="batch")
    upload = UploadsApi(client).create_upload(new)
    part = UploadsApi(client).send_upload_part(upload.id, data=ROWS)
    complete = CompleteUploadBody(part_ids=[part.id])
    whole = UploadsApi(client).complete_upload(upload.id, complete)

    question = BatchBodyClassify(labels=labels)
    batch = BatchesApi(client).create_batch(
        BatchBody(input_file_id=whole.file.id, classify=question, output_format="parquet")
    )
    batch_id = batch.actual_instance.id
    assert '"status":"completed"' in BatchesApi(client).follow_batch(batch_id)
    done = BatchesApi(client).get_batch(batch_id)
    assert done.request_counts.completed == 2
    assert FilesApi(client).get_file_content(done.output_file_id)[:4] == b"PAR1"
