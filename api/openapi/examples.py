"""Example values that operations share, and an example of each parameter.

A test sends every operation. The ids are placeholders: the test replaces them with existing ones.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

BATCH_ID = "batch_7zt5m3x0q8k2v9c4d6f8h0j2n4"
CLASSIFIER = "support-desk"
DELIVERY_ID = "msg_7zt5m3x0q8k2v9c4d6f8h0j2n4"
FILE_ID = "file-7zt5m3x0q8k2v9c4d6f8h0j2n4"
KEY_ID = "key_7zt5m3x0q8k2v9c4"
JOB_ID = "job_7zt5m3x0q8k2v9c4d6f8h0j2n4"
RUN_ID = "run_7zt5m3x0q8k2v9c4d6f8h0j2n4"
TEXT_BATCH_ID = "job_6zt5m3x0q8k2v9c4d6f8h0j2n4"
PART_ID = "part_7zt5m3x0q8k2v9c4"
UPLOAD_ID = "upload_7zt5m3x0q8k2v9c4d6f8h0j2n4"
WEBHOOK_ID = "wh_7zt5m3x0q8k2v9c4"

TRAIN = [
    {"text": "The parcel never arrived.", "label": "delivery"},
    {"text": "My card was charged twice.", "label": "billing"},
    {"text": "Where is my order?", "label": "delivery"},
    {"text": "Please send me an invoice.", "label": "billing"},
]
EVALUATE = [
    {"text": "The courier left it in the rain.", "label": "delivery"},
    {"text": "Why did you take money from my account?", "label": "billing"},
]
ROWS = "id,text\n1,The parcel never arrived.\n2,My card was charged twice.\n"
_CSV = "text,label\nThe parcel never arrived.,delivery\nMy card was charged twice.,billing\n"
_JSONL = (
    '{"text": "The parcel never arrived.", "label": "delivery"}\n'
    '{"text": "My card was charged twice.", "label": "billing"}\n'
)

FILES = {
    "application/jsonl": _JSONL,
    "application/x-ndjson": _JSONL,
    "text/csv": _CSV,
}
"""Bodies that are a file, by media type."""

PARAMETERS: Json = {
    "account": "acme",
    "Idempotency-Key": "mail-of-2026-11-29",
    "Last-Event-ID": "running-0-0-0",
    "If-Range": '"file-01hf7yat00v7mk3v9q6y2c1n5d"',
    "Prefer": "respond-async",
    "Range": "bytes=0-1023",
    "X-Request-ID": "req_mail-1",
    "batch_id": BATCH_ID,
    "classifier_id": CLASSIFIER,
    "delivery_id": DELIVERY_ID,
    "dry_run": "true",
    "expires": "1796000000",
    "file": "confusion_matrix.png",
    "file_id": FILE_ID,
    "from": "2026-11-01",
    "group_by": "model",
    "id": "ticket-4711",
    "job_id": JOB_ID,
    "key_id": KEY_ID,
    "kind": "batch",
    "metadata": '{"team": "support"}',
    "model_id": "all-MiniLM-L6-v2",
    "limit": 20,
    "order": "desc",
    "plot": "learning_curve.svg",
    "purpose": "batch",
    "run_id": RUN_ID,
    "signature": "5f0c7a0e9b",
    "status": "failed",
    "to": "2026-11-30T12:00Z",
    "upload_id": UPLOAD_ID,
    "text_batch_id": TEXT_BATCH_ID,
    "webhook_id": WEBHOOK_ID,
    "window": "7d",
}
"""Values of parameters by their name; `after` has none: pages begin without it."""
