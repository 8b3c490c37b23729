"""Uses a client made by openapi-python-client, as it comes out."""

from __future__ import annotations

import os
from io import BytesIO

from pigeonhole_client import AuthenticatedClient
from pigeonhole_client.api.batches import create_batch, follow_batch, get_batch
from pigeonhole_client.api.classify import classify
from pigeonhole_client.api.files import get_file_content, send_file
from pigeonhole_client.api.jobs import get_job
from pigeonhole_client.api.train import train
from pigeonhole_client.api.uploads import complete_upload, create_upload, send_upload_part
from pigeonhole_client.models import (
    BatchBody,
    BatchBodyClassifyType0,
    BatchBodyOutputFormatType0,
    ClassifyBody,
    CompleteUploadBody,
    FileBody,
    FileBodyPurpose,
    ItemInput,
    LabelledInput,
    NewUploadBody,
    Problem,
    TrainBody,
    UploadPartBody,
)
from pigeonhole_client.types import File

ROWS = b"id,text\n1,a red rose\n2,a green leaf\n"
LABELS = ["red", "green"]

client = AuthenticatedClient(
    os.environ["URL"], os.environ["KEY"], raise_on_unexpected_status=True, timeout=120
)

for texts in (["a red rose"], "a red rose", [ItemInput(text="a red rose").to_dict()]):
    sorted_texts = classify.sync(client=client, body=ClassifyBody(texts, labels=LABELS))
    assert sorted_texts.data[0].prediction in LABELS

queued = classify.sync(
    client=client, body=ClassifyBody("a red rose", labels=LABELS), prefer="respond-async"
)
assert get_job.sync(queued.id, client=client).id == queued.id

examples = [LabelledInput(label=label, text=f"something {label}") for label in LABELS]
trained = train.sync(client=client, body=TrainBody(input_=examples))
assert trained.labels == LABELS
again = ClassifyBody(["a red rose"], classifier_id=trained.classifier_id)
assert classify.sync(client=client, body=again).data[0].prediction in LABELS

refused = classify.sync(client=client, body=ClassifyBody(["a red rose"], labels=["red"]))
assert isinstance(refused, Problem), refused
assert refused.errors

rows = File(payload=BytesIO(ROWS), file_name="rows.csv", mime_type="text/csv")
sent = send_file.sync(client=client, body=FileBody(file=rows, purpose=FileBodyPurpose.BATCH))
assert sent.bytes_ == len(ROWS)

new = NewUploadBody(bytes_=len(ROWS), filename="rows.csv", purpose="batch")
upload = create_upload.sync(client=client, body=new)
data = File(payload=BytesIO(ROWS), file_name="part")
part = send_upload_part.sync(upload.id, client=client, body=UploadPartBody(data=data))
whole = complete_upload.sync(upload.id, client=client, body=CompleteUploadBody([part.id]))
assert whole.file.bytes_ == len(ROWS)

batch = create_batch.sync(
    client=client,
    body=BatchBody(
        input_file_id=whole.file.id,
        classify=BatchBodyClassifyType0(labels=LABELS),
        output_format=BatchBodyOutputFormatType0.PARQUET,
    ),
)
events = follow_batch.sync(batch.id, client=client)
assert '"status":"completed"' in events, events
done = get_batch.sync(batch.id, client=client)
assert (done.request_counts.completed, done.request_counts.failed) == (2, 0)
output = get_file_content.sync(done.output_file_id, client=client)
assert output.payload.read(4) == b"PAR1"
