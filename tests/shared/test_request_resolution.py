"""What a request refers to: files are looked up once each, and only within the limits."""

from __future__ import annotations

import pytest

from shared import object_keys
from shared.classifier_store import ClassifierStore
from shared.dialects import native
from shared.errors import InvalidRequest
from shared.ids import file_id
from shared.limits import Limits
from shared.model_catalogue import load
from shared.ports import StoredObject
from shared.request_resolution import resolved
from shared.types import ClassifyRequest, Media
from tests.fakes import FakeStore

ACCOUNT = "acme"
FILES = [file_id(1_000, bits) for bits in range(3)]


class CountingStore(FakeStore):
    """Counts how often objects are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, name: str) -> StoredObject:
        self.asked.append(name)
        return super().get(name)


@pytest.fixture
def store() -> CountingStore:
    store = CountingStore()
    for each in FILES:
        store.put(object_keys.file(ACCOUNT, each), b"{}")
    return store


def resolve(store: CountingStore, *images: list[str], account: str = ACCOUNT) -> ClassifyRequest:
    catalogue = load(default="ViT-B-32")
    body = {"input": [{"image": each} for each in images], "labels": ["a", "b"]}
    return resolved(
        native.parse(body, default_model=catalogue.default.name),
        account=account,
        records=ClassifierStore(store=store),
        catalogue=catalogue,
        limits=Limits(),
    )


def test_a_file_named_often_is_looked_up_once(store: CountingStore):
    first, second, third = FILES

    request = resolve(store, [first, second], [second, first], [third])

    assert sorted(store.asked) == sorted(object_keys.file(ACCOUNT, each) for each in FILES)
    assert [item.images for item in request.items] == [
        tuple(Media(object=object_keys.file_content(ACCOUNT, each)) for each in files)
        for files in ([first, second], [second, first], [third])
    ]


@pytest.mark.slow
def test_what_is_beyond_the_limits_is_refused_before_a_file_is_looked_up(store: CountingStore):
    with pytest.raises(InvalidRequest, match=r"input\[0\].image: at most 20 images"):
        resolve(store, FILES[:1] * 60_000)

    assert store.asked == []


def test_a_file_of_another_account_is_not_found(store: CountingStore):
    with pytest.raises(InvalidRequest, match="no such file"):
        resolve(store, FILES[:1], account="other")
