"""Items that the API answers from the cache: the worker skips them, and what it finds fits in."""

from __future__ import annotations

import pytest

from shared.cached_results import decoded, encoded, merged, without
from shared.errors import TokenLimitExceeded
from shared.types import ClassifyRequest, ClassifyResult, Item, Media, Priority, Question
from tests.workers.conftest import Bench, a_request
from workers.work_context import WorkContext

TEXTS = ("a red rose", "a green leaf", "red and green", "a stone")


def run(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    return bench.classify.begin(request, WorkContext(priority=Priority.STANDARD)).result(
        timeout_s=10
    )


def test_cached_items_do_not_run_and_cost_nothing(bench: Bench):
    run(bench, a_request("red"))  # the labels are remembered
    bench.encoder.ran = 0

    result = run(bench, without(a_request(*TEXTS), (0, 2)))

    assert bench.encoder.ran == 2
    assert result.usage.input_tokens == 5
    assert [bool(each) for each in result.answers] == [False, True, False, True]
    assert result.failed == ()


def test_an_error_names_the_item_as_the_caller_counts(bench: Bench):
    request = without(a_request("red", "green", "word " * 51), (0, 1))

    with pytest.raises(TokenLimitExceeded, match=r"input\[2\]"):
        run(bench, request)


def test_media_that_cannot_be_read_fail_alone_beside_cached_items(bench: Bench):
    items = (Item(text="red"), Item(images=(Media(data="bm8="),)))
    request = without(a_request(items=items, errors="per_item"), (0,))

    pending = bench.classify.begin(request, WorkContext(priority=Priority.STANDARD))
    result = pending.result(timeout_s=10)

    assert [each.index for each in result.failed] == [1]
    assert pending.answer() == result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"multi_label": True, "top_k": 1},
        {"return_uncertainty": True, "unknown_below": 0.9},
        {"scores": "raw"},
        {
            "questions": (
                Question(group="a", labels=("red", "green")),
                Question(group="b", labels=("rose", "rose.", "stone")),
            )
        },
    ],
)
def test_a_result_of_cached_and_computed_items_is_that_of_all(
    bench: Bench, changes: dict[str, object]
):
    request = a_request(*TEXTS, "long " * 40, **changes)
    whole = run(bench, request)
    cached = {}
    for index in (0, 3, 4):
        data = encoded(whole, index, request.questions)
        assert data is not None
        found = decoded(data, request.questions)
        assert found is not None
        cached[index] = found

    rest = run(bench, without(request, cached))
    result = merged(request, rest, cached, labels=None)

    assert result.answers == whole.answers
    assert result.windowed == whole.windowed
    assert result.alike == whole.alike
