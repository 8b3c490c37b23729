"""What the keeper deletes of files that were sent in parts, and of batches of texts."""

from __future__ import annotations

import json

import pytest

from shared import ids, object_keys
from tests.fakes import FakeStore
from workers.keeper.deletion_limit import DeletionLimit
from workers.keeper.retention import expire_text_batches, expire_uploads

NO_LIMIT = DeletionLimit("few", wait_s=3600)  # that tests with a few objects meet


def put_upload(store: FakeStore, begun_at: float, *, account: str = "acme") -> str:
    """An upload of two parts; of the second one nothing else is known."""
    upload = ids.upload_id(int(begun_at * 1000), ids.random_bits())
    store.put(object_keys.upload_record(account, upload), b"{}")
    for _ in range(2):
        store.put(object_keys.upload_part(account, upload, ids.part_id()), b"x")
    return upload


def uploads(store: FakeStore) -> set[str]:
    return {name.split("/")[2] for name in store.list(object_keys.UPLOADS)}


def test_uploads_that_were_begun_before_a_time_leave_nothing():
    store = FakeStore()
    kept = {put_upload(store, 50.001), put_upload(store, 99, account="other")}
    put_upload(store, 49)
    put_upload(store, 1, account="other")

    assert expire_uploads(store, before=50, limit=NO_LIMIT) == 2

    assert uploads(store) == kept
    assert expire_uploads(store, before=50, limit=NO_LIMIT) == 0


def test_a_part_that_came_after_the_end_is_deleted_too():
    store = FakeStore()
    upload = put_upload(store, 1)
    expire_uploads(store, before=50, limit=NO_LIMIT)
    store.put(object_keys.upload_part("acme", upload, ids.part_id()), b"late")

    assert expire_uploads(store, before=50, limit=NO_LIMIT) == 1

    assert not list(store.list(object_keys.UPLOADS))


def test_batches_of_texts_are_deleted_when_they_have_expired():
    store = FakeStore()
    for number, expires_at in enumerate((49.0, 51.0)):
        record = json.dumps({"id": str(number), "expires_at": expires_at}).encode()
        store.put(object_keys.text_batch("acme", str(number)), record)

    assert expire_text_batches(store, now=50, limit=NO_LIMIT) == 1

    assert list(store.list(object_keys.TEXT_BATCHES)) == [object_keys.text_batch("acme", "1")]


@pytest.mark.parametrize(("age_days", "deleted"), [(29, 0), (31, 1)])
def test_a_batch_of_texts_of_a_version_without_expiry_is_deleted_by_its_age(
    age_days: int, deleted: int
):
    store = FakeStore()
    store.put(object_keys.text_batch("acme", "1"), b'{"id": "1", "created_at": 50}')

    now = 50 + age_days * 86400

    assert expire_text_batches(store, now=now, limit=NO_LIMIT) == deleted
