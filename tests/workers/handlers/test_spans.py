"""Spans of calls, tasks and forward passes in a worker, and of runs that the keeper starts."""

from __future__ import annotations

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared import tracing
from shared.messages import Call, encode
from shared.types import JobKind, Priority
from tests.spans import PARENT, TRACE, ended, trace_of
from tests.waiting import wait_until
from tests.workers.conftest import Bench, Encoder, a_request
from tests.workers.keeper.test_schedules import FIRST, Nightly
from workers.handlers.sync_calls import SyncCalls
from workers.microbatching.microbatcher import Microbatcher
from workers.work_context import WorkContext


def call_once(bench: Bench, now: float, **fields: object) -> None:
    classify = bench.classify
    calls = SyncCalls({JobKind.CLASSIFY: classify.begin}, bench.replies, clock=lambda: now)
    request = a_request(*fields.pop("texts", ()))  # type: ignore[misc]
    message = Call(request_id="r", reply_to="to", deadline=now + 10, body=request, **fields)
    calls.begin(encode(message))
    assert calls.settle(timeout_s=10)
    calls.close(timeout_s=5)


def test_a_call_says_how_long_it_waited(bench: Bench, exporter: InMemorySpanExporter) -> None:
    call_once(bench, 100.0, traceparent=PARENT, sent_at=99.5)

    spans = ended(exporter)
    call = spans["call classify"]
    assert trace_of(call) == trace_of(spans["forward pass"]) == TRACE
    assert call.kind is SpanKind.CONSUMER
    assert call.attributes == {"pigeonhole.priority": "standard", "pigeonhole.queue.wait_s": 0.5}


def test_a_call_of_a_process_that_does_not_trace_begins_a_trace(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    call_once(bench, 100.0)

    call = ended(exporter)["call classify"]
    assert call.parent is None
    assert call.attributes == {"pigeonhole.priority": "standard"}


def test_a_refused_call_has_the_code_of_its_error(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    call_once(bench, 100.0, texts=["word " * 51])

    call = ended(exporter)["call classify"]
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes is not None
    assert call.attributes["error.type"] == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_a_part_continues_the_trace_of_its_job(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    with tracing.span("request", parent=PARENT, attributes={}):
        job = bench.submit()
    assert job.traceparent is not None

    bench.parts.run(bench.claim())

    spans = ended(exporter)
    part, finalise = spans["part classify"], spans["finalise classify"]
    assert {trace_of(span) for span in spans.values()} == {TRACE}
    assert part.parent == finalise.parent
    assert part.attributes is not None
    assert part.attributes["pigeonhole.job.id"] == job.id
    assert part.attributes["pigeonhole.task"] == "part:0"
    assert "pigeonhole.queue.wait_s" in part.attributes
    assert spans["forward pass"].parent == part.context


def test_a_part_that_fails_its_job_has_the_code_of_the_error(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    bench.submit(a_request("word " * 51))

    bench.parts.run(bench.claim())

    part = ended(exporter)["part classify"]
    assert part.status.status_code is StatusCode.ERROR
    assert part.attributes is not None
    assert part.attributes["error.type"] == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_a_forward_pass_of_two_calls_is_linked_to_the_second(
    exporter: InMemorySpanExporter,
) -> None:
    encoder = Encoder()
    encoder.free.clear()
    calls = [tracing.begin(name, attributes={}) for name in ("call 1", "call 2")]
    contexts = [WorkContext(priority=Priority.STANDARD, span=span) for span in (None, *calls)]
    with Microbatcher(encoder, budget_tokens=64, name="tiny") as batcher:
        futures = [batcher.submit([[1]], contexts[0])]
        wait_until(batcher.stalled_s)  # the others wait for the end of this pass
        futures += [batcher.submit([[n]], each) for n, each in enumerate(contexts[1:], 2)]
        encoder.free.set()
        for future in futures:
            future.result(10)
    for span in calls:
        tracing.end(span)

    spans = ended(exporter)
    assert len(exporter.get_finished_spans()) == 3  # none of the pass without a traced call
    forward_pass = spans["forward pass"]
    assert forward_pass.parent == spans["call 1"].context
    assert [link.context for link in forward_pass.links] == [spans["call 2"].context]
    assert forward_pass.attributes == {"pigeonhole.model": "tiny", "pigeonhole.windows": 2}


def test_a_scheduled_run_begins_a_trace_that_its_job_continues(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    nightly = Nightly(bench)
    assert nightly.fire(FIRST) == 1

    start = ended(exporter)["start retraining"]
    (job_id,) = nightly.jobs()
    job = bench.ledger.record(job_id)
    assert job is not None
    assert job.traceparent is not None
    assert job.traceparent.split("-")[1] == trace_of(start)
    assert start.kind is SpanKind.PRODUCER
    assert start.attributes == {"pigeonhole.trigger": "schedule"}


def test_a_forward_pass_that_fails_has_the_class_of_its_error(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    bench.submit(a_request("a secret"))
    bench.encoder.error = ValueError("a secret")

    bench.parts.run(bench.claim())

    spans = ended(exporter)
    for span in (spans["forward pass"], spans["part classify"]):
        assert span.attributes is not None
        assert span.attributes["error.type"] == "ValueError"
        assert "secret" not in span.to_json()
