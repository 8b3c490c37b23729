"""Requests of `auto` on two models: a model runs, and its labels cost, where it has an item."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from shared.batches import BatchRequest, RowSource
from shared.cached_results import without
from shared.errors import InvalidRequest
from shared.messages import failure_of
from shared.model_catalogue import AutoEntry, Catalogue, ModelEntry
from shared.types import ClassifyRequest, ClassifyResult, FailedItem, Item, JobKind, Priority
from tests.workers.conftest import Bench, Encoder, a_request
from tests.workers.handlers.test_train import a_job, hold
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.texts import Embedder
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.request_rows import Requests
from workers.microbatching.microbatcher import Microbatcher
from workers.work_context import WorkContext

ENGLISH, OTHER = "a red rose", "粉 色 的 花"
LABEL_TOKENS = 2  # red and green, by either model
WIDE = ModelEntry(name="wide", engine="hashing")
CATALOGUE = Catalogue(
    [ModelEntry(name="tiny", engine="hashing"), WIDE],
    default="auto",
    auto=AutoEntry(english="tiny", multilingual="wide"),
)


@pytest.fixture
def wide(bench: Bench) -> Iterator[Encoder]:
    """The encoder of a second model that the bench holds."""
    encoder = Encoder()
    batcher = Microbatcher(encoder, budget_tokens=256, name="wide")
    bench.models["wide"] = LoadedModel(entry=WIDE, texts=Embedder(encoder, batcher), images=None)
    yield encoder
    batcher.close()


def auto(*texts: str, refused: tuple[int, ...] = ()) -> ClassifyRequest:
    failure = failure_of(InvalidRequest("is empty"))
    return a_request(
        items=tuple(Item(text=text) for text in texts),
        multilingual_model="wide",
        errors="per_item",
        refused=tuple(FailedItem(index=index, failure=failure) for index in refused),
    )


def run(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    pending = bench.classify.begin(request, WorkContext(priority=Priority.STANDARD))
    return pending.result(timeout_s=10)


@pytest.mark.parametrize(
    "request_",
    [without(auto(ENGLISH, OTHER), (0,)), auto("", OTHER, refused=(0,))],
    ids=["cached", "refused"],
)
def test_items_that_no_model_sees_are_for_neither(
    bench: Bench, wide: Encoder, request_: ClassifyRequest
):
    result = run(bench, request_)

    assert (bench.encoder.ran, wide.ran > 0) == (0, True)
    assert result.item_models == ("", "wide")
    assert result.usage.label_tokens == LABEL_TOKENS
    assert [bool(each) for each in result.answers] == [False, True]
    assert result.failed == request_.refused


@pytest.mark.usefixtures("wide")
def test_without_an_item_for_a_model_nothing_is_charged(bench: Bench):
    request = auto("", "", refused=(0, 1))

    result = run(bench, request)

    assert result.usage.total_tokens == 0
    assert result.failed == request.refused


@pytest.mark.usefixtures("wide")
def test_a_line_of_a_batch_costs_what_its_call_costs(bench: Bench):
    requests = Requests(
        classify=bench.classify,
        records=bench.classifiers.records,
        catalogue=CATALOGUE,
        limits=bench.limits,
    )
    asked = [[ENGLISH], [OTHER], [OTHER, ENGLISH], ["", OTHER], [""]]
    shared = {"labels": ["red", "green"], "errors": "per_item"}
    rows = [
        PartRow(line=n + 1, id=str(n), number=n, data={"input": texts, **shared})
        for n, texts in enumerate(asked)
    ]

    body = BatchRequest(model="tiny", source=RowSource(object="o"))
    lines = requests.work(a_job(JobKind.BATCH), body, rows, hold())

    costs = [json.loads(line)["response"]["body"]["usage"]["total_tokens"] for line in lines.output]
    alone = [
        run(bench, auto(*texts, refused=tuple(i for i, text in enumerate(texts) if not text)))
        for texts in asked
    ]
    assert costs == [each.usage.total_tokens for each in alone]
    assert costs == [3 + 2, 4 + 2, 7 + 4, 4 + 2, 0]
    assert lines.usage.total_tokens == sum(costs)
