from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from shared.evaluation_results import EvaluateResult
from shared.messages import Call, Reply, decode, encode, reply_of
from shared.types import (
    ClassifierVersion,
    ClassifyRequest,
    ClassifyResult,
    EvaluateRequest,
    Item,
    JobKind,
    JobRequest,
    Media,
    Priority,
    Usage,
)
from tests.fake_media import BROKEN
from tests.waiting import wait_until
from tests.workers.conftest import Bench, a_request
from workers.handlers.pending_classification import PendingClassification
from workers.handlers.sync_calls import Begin, SyncCalls
from workers.work_context import WorkContext


def begin_of(bench: Bench) -> dict[str, Begin]:
    return {JobKind.CLASSIFY: bench.classify.begin}


@pytest.fixture
def calls(bench: Bench) -> Iterator[SyncCalls]:
    made = SyncCalls(begin_of(bench), bench.replies)
    yield made
    bench.encoder.free.set()
    made.close(timeout_s=60)


def a_call(
    reply_to: str,
    request: JobRequest | None = None,
    *,
    deadline_s: float = 60,
    account: str = "acme",
) -> bytes:
    return encode(
        Call(
            request_id="req_1",
            reply_to=reply_to,
            deadline=time.time() + deadline_s,
            account=account,
            body=request or a_request(),
        )
    )


def answer(bench: Bench, reply_to: str) -> Reply[ClassifyResult]:
    data = bench.replies.wait(reply_to, timeout_s=60)
    assert data is not None, "nobody answered"
    return decode(Reply[ClassifyResult], data)


def failure_code(bench: Bench, reply_to: str) -> str:
    failure = answer(bench, reply_to).failure
    assert failure is not None
    return failure.code


def test_every_call_is_answered_to_its_caller(bench: Bench, calls: SyncCalls):
    for n in range(50):
        calls.begin(a_call(f"r{n}", a_request(("red", "green")[n % 2])))

    results = [answer(bench, f"r{n}").result for n in range(50)]

    assert [r and r.answers[0][0].best for r in results] == [n % 2 for n in range(50)]


def test_a_large_call_that_takes_long_to_begin_does_not_stop_the_claims(bench: Bench):
    seen = threading.Event()

    def begin(request: ClassifyRequest, context: WorkContext) -> PendingClassification:
        if len(request.items) > 1:
            assert seen.wait(60)
        return bench.classify.begin(request, context)

    calls = SyncCalls({JobKind.CLASSIFY: begin}, bench.replies)

    def claims() -> None:
        calls.begin(a_call("large", a_request(*["green " * 40] * 500)))
        calls.begin(a_call("small"))

    claiming = threading.Thread(target=claims, daemon=True)
    claiming.start()

    small = bench.replies.wait("small", timeout_s=30)
    seen.set()
    assert small is not None
    assert answer(bench, "large").result is not None
    claiming.join(60)
    calls.close(timeout_s=60)


def test_a_call_past_its_deadline_never_reaches_the_model(bench: Bench, calls: SyncCalls):
    calls.begin(a_call("late", deadline_s=-1))

    assert failure_code(bench, "late") == "SERVICE_TIMEOUT"
    assert bench.encoder.ran == 0


def test_a_call_whose_deadline_passes_in_the_queue_is_dropped(bench: Bench, calls: SyncCalls):
    bench.encoder.free.clear()
    calls.begin(a_call("first"))
    wait_until(bench.batcher.stalled_s)  # the second must not be of the same pass
    calls.begin(a_call("second", a_request("another text"), deadline_s=0.05))
    time.sleep(0.1)
    bench.encoder.free.set()

    assert answer(bench, "first").result is not None
    assert failure_code(bench, "second") == "SERVICE_TIMEOUT"


def test_a_refusal_is_an_answer(bench: Bench, calls: SyncCalls):
    calls.begin(a_call("long", a_request("word " * 51)))

    assert failure_code(bench, "long") == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_a_crash_of_the_model_is_an_answer_that_says_nothing_of_it(bench: Bench, calls: SyncCalls):
    bench.encoder.error = ValueError("secret internals")
    calls.begin(a_call("crash"))

    failure = answer(bench, "crash").failure

    assert failure is not None
    assert failure.code == "INTERNAL_ERROR"
    assert "secret" not in failure.detail


def test_a_newer_message_is_answered_by_what_can_be_read_of_it(bench: Bench, calls: SyncCalls):
    calls.begin(b'{"schema_number": 99, "reply_to": "newer"}')

    assert failure_code(bench, "newer") == "INTERNAL_ERROR"


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"[]", b"{}", b"null"])
def test_garbage_is_dropped_and_the_next_call_answered(
    bench: Bench, calls: SyncCalls, garbage: bytes
):
    calls.begin(garbage)
    calls.begin(a_call("next"))

    assert answer(bench, "next").result is not None
    assert calls.healthy()


def test_open_calls_leave_room_until_they_take_their_bytes(bench: Bench):
    calls = SyncCalls(begin_of(bench), bench.replies, max_open_bytes=1000)
    bench.encoder.free.clear()

    def room(priority: Priority) -> bool:
        return calls.wait_for_room(priority=priority, timeout_s=0)

    assert room(Priority.STANDARD)
    calls.begin(a_call("large", a_request("word " * 40 + "x" * 1000)))

    assert not room(Priority.STANDARD)
    assert not room(Priority.BULK)
    assert room(Priority.FAST)

    bench.encoder.free.set()
    assert answer(bench, "large").result is not None
    assert calls.wait_for_room(priority=Priority.STANDARD, timeout_s=10)
    calls.begin(a_call("refused", a_request("word " * 51 + "x" * 1000)))
    assert failure_code(bench, "refused") == "INPUT_TOKEN_LIMIT_EXCEEDED"
    assert calls.wait_for_room(priority=Priority.STANDARD, timeout_s=10)
    calls.close(timeout_s=60)


@pytest.mark.parametrize(
    "items",
    [
        [Item(text="a red rose")],
        [Item(text="word " * 45)],  # of several windows
        [Item(text="word " * 51)],  # refused
        [Item(file=Media(data="one|two"))],
        [Item(file=Media(data="one|two")), Item(text="a red rose")],
        [Item(file=Media(data=BROKEN))],
        [Item(file=Media(data="word " * 1000))],  # refused
    ],
)
def test_nothing_of_an_answered_call_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, items: list[Item]
):
    calls = SyncCalls(begin_of(bench), bench.replies)
    begun: list[weakref.ref[Item]] = []
    begin = bench.classify.begin

    def watched(request: ClassifyRequest, context: WorkContext) -> PendingClassification:
        begun.extend(map(weakref.ref, request.items))
        return begin(request, context)

    monkeypatch.setattr(bench.classify, "begin", watched)
    gc.collect()
    gc.disable()  # which would find cycles, at a time that nobody knows
    try:
        calls.begin(a_call("answered", a_request(items=tuple(items))))
        answer(bench, "answered")
        wait_until(lambda: not any(item() for item in begun))
    finally:
        gc.enable()
        calls.close(timeout_s=60)


def test_closing_answers_what_was_begun(bench: Bench, calls: SyncCalls):
    bench.encoder.free.clear()
    calls.begin(a_call("begun"))
    bench.encoder.free.set()

    calls.close(timeout_s=60)

    assert answer(bench, "begun").result is not None
    assert not calls.healthy()


def test_beyond_the_bound_of_bytes_accounts_without_large_calls_go_on(bench: Bench):
    calls = SyncCalls(
        {JobKind.CLASSIFY: bench.classify.begin}, bench.replies, max_open_bytes=100_000
    )
    bench.encoder.free.clear()
    large = a_request("word " * 40 + "x" * 70_000)
    calls.begin(a_call("first", large, account="heavy"))
    calls.begin(a_call("short", account="other"))
    assert calls.full_accounts(Priority.STANDARD) == set()

    calls.begin(a_call("second", large, account="heavy"))

    assert calls.full_accounts(Priority.STANDARD) == {"heavy"}
    assert calls.full_accounts(Priority.FAST) == set()
    bench.encoder.free.set()
    assert answer(bench, "second").result is not None
    calls.close(timeout_s=60)
    assert calls.full_accounts(Priority.BULK) == set()


def an_evaluation() -> EvaluateRequest:
    version = ClassifierVersion(account="acme", classifier_id="c", version=3, file="f")
    return EvaluateRequest(model="tiny", classifier=version)


def test_a_kind_that_the_worker_does_not_serve_is_refused_so_that_it_is_tried_again(
    bench: Bench, calls: SyncCalls
):
    calls.begin(a_call("other", an_evaluation()))

    failure = answer(bench, "other").failure

    assert failure is not None
    assert (failure.code, failure.retryable) == ("SERVICE_UNAVAILABLE", True)
    assert "'evaluate'" in failure.detail


def test_a_call_of_another_kind_is_answered_by_the_handler_of_that_kind(bench: Bench):
    class Evaluating:
        """An evaluation that is ready in a thread of its own."""

        def __init__(self, request: EvaluateRequest, _: WorkContext) -> None:
            self.version = request.classifier.version

        def when_ready(self, call: Callable[[], object]) -> None:
            threading.Thread(target=call).start()

        def answer(self) -> EvaluateResult:
            return EvaluateResult(
                classifier_id="c",
                version=self.version,
                num_samples=0,
                usage=Usage(input_tokens=7),
                accuracy=1.0,
                macro_f1=1.0,
                micro_f1=1.0,
                calibration_error=0.0,
                labels=(),
                confusion=(),
                reliability=(),
                worth_labelling=(),
            )

    calls = SyncCalls({**begin_of(bench), JobKind.EVALUATE: Evaluating}, bench.replies)
    calls.begin(a_call("evaluation", an_evaluation()))
    calls.begin(a_call("classification"))

    data = bench.replies.wait("evaluation", timeout_s=60)
    assert data is not None
    result = decode(reply_of("evaluate"), data).result
    assert isinstance(result, EvaluateResult)
    assert (result.version, result.usage.input_tokens) == (3, 7)
    assert answer(bench, "classification").result is not None
    calls.close(timeout_s=60)
