"""Bad items among good ones, through a whole service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

INPUT = ["a red rose", "", {"text": 5}, "green " * 8200, "the green grass"]


def codes(data: list[dict[str, Any]]) -> list[str | None]:
    assert [row["index"] for row in data] == list(range(len(data)))
    assert all((row["prediction"] is None) == ("error" in row) for row in data)
    return [row.get("error", {}).get("code") for row in data]


EXPECTED = [None, "VALIDATION_ERROR", "VALIDATION_ERROR", "INPUT_TOKEN_LIMIT_EXCEEDED", None]


def test_a_call_answers_the_good_items_and_charges_them_alone(stack: Stack):
    answer = stack.classify(INPUT, errors="per_item")
    good = stack.classify([INPUT[0], INPUT[-1]])

    assert answer.status == 200
    assert codes(answer.json()["data"]) == EXPECTED
    assert answer.json()["usage"] == good.json()["usage"]
    rows = [answer.json()["data"][index]["predictions"] for index in (0, 4)]
    assert rows == [row["predictions"] for row in good.json()["data"]]


def test_so_does_a_job(stack: Stack):
    job_id = stack.submit(INPUT, errors="per_item")
    stack.until("done", lambda: stack.job(job_id)["status"] == "succeeded")

    job = stack.job(job_id)

    assert codes(job["result"]["data"]) == EXPECTED
    assert job["progress"] == {"total": 5, "completed": 2, "failed": 3}


@pytest.mark.parametrize("errors", ["fail", None])
def test_without_it_the_first_bad_item_refuses_the_call(stack: Stack, errors: str | None):
    answer = stack.classify(["a red rose", ""], errors=errors)

    assert answer.status == 422
    assert answer.json()["errors"][0]["field"] == "input[1].text"
