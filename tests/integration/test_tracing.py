"""Traces of a real service, from the `traceparent` of a client to the forward pass."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.test_batches import ended, start
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration

PARENT_ID = "00f067aa0ba902b7"
SECRETS = (b"a vermilion rose", b"puce", b"teal")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, OtlpReceiver]]:
    with otlp_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        folder = tmp_path_factory.mktemp("traced")
        with running_stack(folder, otlp_endpoint=receiver.url) as stack:
            yield stack, receiver


def parent_of(trace: str) -> str:
    return f"00-{trace}-{PARENT_ID}-01"


def await_spans(
    stack: Stack, receiver: OtlpReceiver, trace: str, *names: str
) -> list[ReceivedSpan]:
    stack.until(
        f"{names} of {list(receiver.of_trace(trace))}",
        lambda: set(names) <= receiver.of_trace(trace).keys(),
        timeout_s=20,
    )
    found = receiver.of_trace(trace)
    return [found[name] for name in names]


def test_a_synchronous_call_is_one_trace(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, receiver = traced
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {"input": SECRETS[0].decode(), "labels": ["puce", "teal"]}

    answer = stack.call("POST", "/v1/classify", body, traceparent=parent_of(trace))

    assert answer.status == 200, answer.body
    request, call, forward_pass = await_spans(
        stack, receiver, trace, "POST /v1/classify", "call classify", "forward pass"
    )
    assert request.service == "pigeonhole-api"
    assert request.span.parent_span_id.hex() == PARENT_ID
    assert answer.headers["traceparent"] == f"00-{trace}-{request.span.span_id.hex()}-01"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/classify",
        "url.scheme": "http",
        "http.response.status_code": 200,
    }
    assert call.service == "pigeonhole-worker"
    assert call.span.parent_span_id == request.span.span_id
    wait_s = call.attributes["pigeonhole.queue.wait_s"]
    assert isinstance(wait_s, float)
    assert 0 <= wait_s < 10
    assert forward_pass.service == "pigeonhole-worker"
    assert forward_pass.span.parent_span_id == call.span.span_id
    assert forward_pass.attributes["pigeonhole.model"] == "tiny"
    assert forward_pass.span.start_time_unix_nano <= forward_pass.span.end_time_unix_nano


def test_a_job_is_one_trace(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, receiver = traced
    trace = "5bf92f3577b34da6a3ce929d0e0e4737"

    body = {"input": SECRETS[0].decode(), "labels": ["puce", "teal"]}
    answer = stack.call(
        "POST", "/v1/classify", body, traceparent=parent_of(trace), Prefer="respond-async"
    )
    assert answer.status == 202, answer.body
    job_id = answer.json()["id"]

    stack.until("the job has ended", lambda: stack.job(job_id)["status"] == "succeeded")
    request, part, forward_pass, finalise = await_spans(
        stack,
        receiver,
        trace,
        "POST /v1/classify",
        "part classify",
        "forward pass",
        "finalise classify",
    )
    assert request.span.parent_span_id.hex() == PARENT_ID
    assert part.service == finalise.service == "pigeonhole-worker"
    assert part.span.parent_span_id == request.span.span_id
    assert part.attributes["pigeonhole.job.id"] == job_id
    assert "pigeonhole.queue.wait_s" in part.attributes
    assert forward_pass.span.parent_span_id == part.span.span_id
    assert finalise.span.parent_span_id == request.span.span_id


def test_a_batch_is_one_trace(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, receiver = traced

    batch_id = start(stack, b"".join(b'{"id":"%d","text":"a rose"}\n' % n for n in range(20)))

    assert ended(stack, batch_id, timeout_s=60)["status"] == "completed"
    stack.until("the plan", lambda: [s for s in receiver.spans() if s.span.name == "plan batch"])
    (plan,) = [each for each in receiver.spans() if each.span.name == "plan batch"]
    request, part, finalise, forward_pass = await_spans(
        stack,
        receiver,
        plan.trace,
        "POST /v1/batches",
        "part batch",
        "finalise batch",
        "forward pass",
    )
    tasks = (plan, part, finalise)
    assert {each.span.parent_span_id for each in tasks} == {request.span.span_id}
    assert ["pigeonhole.queue.wait_s" in each.attributes for each in tasks] == [True, False, False]
    assert forward_pass.span.parent_span_id == part.span.span_id


def test_a_malformed_traceparent_is_ignored(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, _ = traced

    answer = stack.call("GET", "/v1/models", traceparent="00-not-a-trace")

    assert answer.status == 200
    version, trace, _, _ = answer.headers["traceparent"].split("-")
    assert version == "00"
    assert int(trace, 16)


def test_a_refused_request_is_traced_by_its_route_only(
    traced: tuple[Stack, OtlpReceiver],
) -> None:
    stack, receiver = traced
    trace = "6bf92f3577b34da6a3ce929d0e0e4738"

    answer = stack.call("GET", "/v1/jobs/a-vermilion-rose?q=teal", traceparent=parent_of(trace))

    assert answer.status == 422
    (request,) = await_spans(stack, receiver, trace, "GET /v1/jobs/<job_id>")
    assert request.attributes["http.response.status_code"] == 422
    assert "error.type" not in request.attributes


def test_no_span_holds_a_text_a_label_or_a_key(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, receiver = traced

    sent = b"".join(receiver.bodies)

    assert sent
    for secret in (*SECRETS, b"vermilion", stack.key.encode()):
        assert secret not in sent


def test_liveness_is_not_traced(traced: tuple[Stack, OtlpReceiver]) -> None:
    stack, receiver = traced

    answer = stack.call("GET", "/health/live")

    assert "traceparent" not in answer.headers
    assert not [each for each in receiver.spans() if "live" in each.span.name]


def test_an_unreachable_collector_delays_nothing(tmp_path: Path) -> None:
    with otlp_receiver() as receiver:
        gone = receiver.url
    with running_stack(tmp_path, otlp_endpoint=gone) as stack:
        assert stack.classify().status == 200
        stack.processes["worker"].send_signal(signal.SIGTERM)
        stack.processes["api"].send_signal(signal.SIGTERM)

        assert stack.processes["api"].wait(15) == 0
        assert stack.processes["worker"].wait(15) == 0


def test_without_a_setting_a_traceparent_changes_nothing(stack: Stack) -> None:
    answer = stack.call("GET", "/v1/models", traceparent=parent_of("7" * 32))

    assert "traceparent" not in answer.headers
