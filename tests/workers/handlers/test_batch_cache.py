"""Jobs and batches with `cache`: items that were answered before are not computed again."""

from __future__ import annotations

from typing import Any

import pytest

from shared import object_keys
from shared.batches import PartReport
from shared.messages import Submission, decode
from shared.types import ClassifyResult, JobKind
from tests.workers.conftest import Bench, a_request
from tests.workers.handlers.test_batch import (
    ASK,
    CONTROL,
    a_batch,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_train import ME, a_job, hold
from workers.leases import Lease

CACHED = ASK.model_copy(update={"cache": True})
ROWS = jsonl({"id": 1, "text": "a red rose"}, {"id": 2, "text": "green grass"})
MORE = jsonl({"id": 1, "text": "a red rose"}, {"id": 2, "text": "a blue sky"})


def plain(bench: Bench, data: bytes, **changes: Any) -> tuple[list[dict[str, Any]], int]:
    """The lines of a batch of plain rows, and its tokens."""
    job = a_batch(bench, data, rows={"ask": CACHED, "id_column": "id"}, **changes)
    run_all(bench)
    ended = result(bench, job)
    return lines(bench, ended.output_file), ended.usage.total_tokens


def test_rows_of_an_earlier_batch_cost_nothing(bench: Bench):
    first, some = plain(bench, ROWS)
    bench.encoder.ran = 0
    second, none = plain(bench, ROWS)

    assert [line["cached"] for line in first] == [False, False]
    assert [line["cached"] for line in second] == [True, True]
    assert (some > 0, none, bench.encoder.ran) == (True, 0, 0)
    assert [line["prediction"] for line in second] == [line["prediction"] for line in first]
    assert [line["cached"] for line in plain(bench, MORE)[0]] == [True, False]


def test_rows_are_computed_unless_the_batch_asks_for_the_cache(bench: Bench):
    for _ in range(2):
        job = a_batch(bench, ROWS)
        run_all(bench)
        found = lines(bench, result(bench, job).output_file)
        assert all("cached" not in line for line in found)
    assert not bench.cache.entries


def test_lines_that_are_requests_say_which_items_are_cached(bench: Bench):
    def bodies(*texts: list[str]) -> list[dict[str, Any]]:
        asked = [{"input": each, "labels": ["red", "green"], "cache": True} for each in texts]
        data = [
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/classify", "body": body}
            for n, body in enumerate(asked)
        ]
        job = a_batch(bench, jsonl(*data), rows=None)
        run_all(bench)
        found = lines(bench, result(bench, job).output_file)
        return [line["response"]["body"] for line in found]

    bodies(["a red rose"])
    known, partly = bodies(["a red rose"], ["a red rose", "green grass"])

    assert [row["cached"] for row in known["data"]] == [True]
    assert known["usage"]["total_tokens"] == 0
    assert [row["cached"] for row in partly["data"]] == [True, False]
    assert partly["usage"]["total_tokens"] == 2 + 2


@pytest.mark.parametrize("cache", [True, False])
def test_a_job_looks_its_items_up_if_it_asks_for_that(bench: Bench, cache: bool):
    request = a_request("a red rose", "green grass", cache=cache)

    def run() -> ClassifyResult:
        return bench.classify.run(a_job(JobKind.CLASSIFY), request, hold())

    first, second = run(), run()

    hits = [each.cache and each.cache.hits for each in (first, second)]
    assert hits == ([(), (0, 1)] if cache else [None, None])
    assert second.answers == first.answers
    assert second.usage.total_tokens == (0 if cache else first.usage.total_tokens)


def test_a_part_that_runs_again_after_its_worker_died_is_charged_as_the_first_time(bench: Bench):
    job = a_batch(bench, ROWS, rows={"ask": CACHED, "id_column": "id"})
    body = decode(Submission, bench.store.get(object_keys.request(ME, job.id)).data).body
    bench.parts.run(bench.claim(CONTROL))  # the plan
    part = bench.claim()

    def run() -> tuple[PartReport, bytes]:
        report = bench.part_runner.run(part, job, body, Lease(part))
        return report, bench.store.get(object_keys.part_result(ME, job.id, 0)).data

    first, again = run(), run()

    assert again == first
    assert first[0].usage.total_tokens > 0


def test_a_cache_that_is_away_costs_time_only(bench: Bench):
    bench.cache.away = True

    found, tokens = plain(bench, ROWS)

    assert len(found) == 2
    assert tokens > 0
