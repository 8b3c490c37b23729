from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from shared.messages import Call, Reply, decode, encode
from shared.types import ClassifyRequest
from tests.workers.conftest import Bench, a_request
from workers.handlers.call import Calls


@pytest.fixture
def calls(bench: Bench) -> Iterator[Calls]:
    made = Calls(bench.classify, bench.replies)
    yield made
    bench.encoder.free.set()
    made.close(timeout_s=5)


def a_call(
    reply_to: str, request: ClassifyRequest | None = None, *, deadline_s: float = 10
) -> bytes:
    return encode(
        Call(
            request_id="req_1",
            reply_to=reply_to,
            deadline=time.time() + deadline_s,
            body=request or a_request(),
        )
    )


def answer(bench: Bench, reply_to: str) -> Reply:
    data = bench.replies.wait(reply_to, timeout_s=10)
    assert data is not None, "nobody answered"
    return decode(Reply, data)


def failure_code(bench: Bench, reply_to: str) -> str:
    failure = answer(bench, reply_to).failure
    assert failure is not None
    return failure.code


def test_every_call_is_answered_to_its_caller(bench: Bench, calls: Calls):
    for n in range(50):
        calls.begin(a_call(f"r{n}", a_request(("red", "green")[n % 2])))

    results = [answer(bench, f"r{n}").result for n in range(50)]

    assert [r and r.answers[0][0].best for r in results] == [n % 2 for n in range(50)]


def test_a_call_past_its_deadline_never_reaches_the_model(bench: Bench, calls: Calls):
    calls.begin(a_call("late", deadline_s=-1))

    assert failure_code(bench, "late") == "SERVICE_TIMEOUT"
    assert bench.encoder.ran == 0


def test_a_call_whose_deadline_passes_in_the_queue_is_dropped(bench: Bench, calls: Calls):
    bench.encoder.free.clear()
    calls.begin(a_call("first"))
    time.sleep(0.05)
    calls.begin(a_call("second", a_request("another text"), deadline_s=0.05))
    time.sleep(0.1)
    bench.encoder.free.set()

    assert answer(bench, "first").result is not None
    assert failure_code(bench, "second") == "SERVICE_TIMEOUT"


def test_a_refusal_is_an_answer(bench: Bench, calls: Calls):
    calls.begin(a_call("long", a_request("word " * 51)))

    assert failure_code(bench, "long") == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_a_crash_of_the_model_is_an_answer_that_says_nothing_of_it(bench: Bench, calls: Calls):
    bench.encoder.error = ValueError("secret internals")
    calls.begin(a_call("crash"))

    failure = answer(bench, "crash").failure

    assert failure is not None
    assert failure.code == "INTERNAL_ERROR"
    assert "secret" not in failure.detail


def test_a_newer_message_is_answered_by_what_can_be_read_of_it(bench: Bench, calls: Calls):
    calls.begin(b'{"schema_number": 99, "reply_to": "newer"}')

    assert failure_code(bench, "newer") == "INTERNAL_ERROR"


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"[]", b"{}", b"null"])
def test_garbage_is_dropped_and_the_next_call_answered(bench: Bench, calls: Calls, garbage: bytes):
    calls.begin(garbage)
    calls.begin(a_call("next"))

    assert answer(bench, "next").result is not None
    assert calls.healthy()


def test_closing_answers_what_was_begun(bench: Bench, calls: Calls):
    bench.encoder.free.clear()
    calls.begin(a_call("begun"))
    bench.encoder.free.set()

    calls.close(timeout_s=5)

    assert answer(bench, "begun").result is not None
    assert not calls.healthy()
