from __future__ import annotations

import pytest

from shared.errors import (
    FieldError,
    InvalidRequest,
    MessageUndecodable,
    PigeonholeError,
    StoreUnavailable,
    TokenLimitExceeded,
    Unavailable,
    tree,
)
from shared.messages import (
    Call,
    Submission,
    decode,
    encode,
    error_of,
    failure_of,
    lane_of,
    model_of,
    on_every_device,
    priority_of,
    queue_for,
    queues_of,
)
from shared.types import ClassifyRequest, Failure, Item, Priority, Question, Threshold

# What the first released version wrote: these bytes must be readable for ever.
CALL_V1 = (
    b'{"schema_number":1,"request_id":"req_1","reply_to":"abc","deadline":1700000000.0,'
    b'"priority":1,"body":{"model":"tiny","items":[{"text":"a rose"}],"questions":[{"group":null,'
    b'"labels":["red","green"]}],"descriptions":{},"template":null,"scores":"calibrated",'
    b'"multi_label":false,"threshold":null,"top_k":null}}'
)
SUBMISSION_V1 = (
    b'{"schema_number":1,"job":{"id":"job_1","account":"acme","kind":"classify",'
    b'"queue":"cpu.standard","state":"queued","attempt":0,"created_at":"2026-01-01T00:00:00Z",'
    b'"started_at":null,"finished_at":null,"expires_at":"2026-01-08T00:00:00Z","progress":'
    b'{"total":1,"completed":0,"failed":0},"usage":{"input_tokens":0,"label_tokens":0},'
    b'"error":null},"request_id":"req_1","dialect":"jina","body":{"model":"tiny","items":'
    b'[{"text":"a rose"}],"questions":[{"group":null,"labels":["red","green"]}]}}'
)


def a_call() -> Call:
    return Call(
        request_id="req_1",
        reply_to="abc",
        deadline=1.5,
        priority=Priority.FAST,
        body=ClassifyRequest(
            model="tiny",
            items=(Item(text="a «rose» \u2028 🌹"),),
            questions=(Question(labels=("red", "green")),),
            threshold=Threshold(default=0.5, per_label={"red": 0.25}),
        ),
    )


def test_what_is_encoded_is_decoded():
    assert decode(Call, encode(a_call())) == a_call()


def test_bytes_of_the_first_schema_are_still_read():
    assert decode(Call, CALL_V1).body.items[0].text == "a rose"
    assert decode(Submission, SUBMISSION_V1).job.account == "acme"


def test_a_trace_travels_with_a_call_and_leaves_no_field_without():
    traced = a_call().model_copy(update={"traceparent": "00-1-2-01", "sent_at": 1.5})

    assert decode(Call, encode(traced)) == traced
    assert decode(Call, CALL_V1).traceparent is None
    assert decode(Submission, SUBMISSION_V1).job.traceparent is None
    assert b"traceparent" not in encode(decode(Submission, SUBMISSION_V1))
    assert b"traceparent" not in encode(a_call())
    assert b"sent_at" not in encode(a_call())


def test_a_field_that_a_newer_process_added_is_passed_over():
    newer = CALL_V1.replace(b'{"schema_number"', b'{"colour": "blue", "schema_number"')

    assert decode(Call, newer) == decode(Call, CALL_V1)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema_number":1}', b"\xff\xfe"])
def test_other_bytes_are_undecodable(data: bytes):
    with pytest.raises(MessageUndecodable, match="not a Call"):
        decode(Call, data)


def test_a_newer_schema_says_to_update():
    newer = encode(a_call().model_copy(update={"schema_number": 99}))

    with pytest.raises(MessageUndecodable, match="update this process"):
        decode(Call, newer)


def test_an_undecodable_message_is_never_repeated_in_the_error():
    with pytest.raises(MessageUndecodable) as caught:
        decode(Call, b'{"body": {"items": [{"text": 12345, "secret": "hush"}]}}')

    assert "hush" not in caught.value.detail
    assert "12345" not in caught.value.detail


def test_an_error_survives_the_journey():
    error = TokenLimitExceeded("too long", fields=(FieldError(field="input[3]", message="long"),))

    back = error_of(failure_of(error))

    assert type(back) is TokenLimitExceeded
    assert (back.detail, back.fields) == (error.detail, error.fields)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(StoreUnavailable("x"), Unavailable), (InvalidRequest("x"), InvalidRequest)],
)
def test_a_shared_code_comes_back_as_the_class_that_stands_for_it(error, kind):
    assert type(error_of(failure_of(error))) is kind


def test_an_error_without_a_code_of_its_own_comes_back_as_an_internal_error():
    assert type(error_of(failure_of(MessageUndecodable("x")))) is PigeonholeError


def test_queues_are_served_fast_first_and_control_last():
    assert queues_of("gpu", ["a", "b.c"]) == (
        "gpu.fast.a", "gpu.fast.b.c", "gpu.standard.a", "gpu.standard.b.c",
        "gpu.bulk.a", "gpu.bulk.b.c", "gpu.train.a", "gpu.train.b.c", "control",
    )  # fmt: skip
    assert [priority_of(queue_for("cpu", p, "b.c")) for p in Priority] == list(Priority)


def test_a_queue_says_its_lane_its_model_and_where_else_its_work_can_be_done():
    queues = queues_of("gpu", ["b.c"])

    lanes = {"gpu.fast", "gpu.standard", "gpu.bulk", "gpu.train", "control"}
    assert {lane_of(queue) for queue in queues} == lanes
    assert {model_of(queue) for queue in queues} == {"b.c", ""}
    assert on_every_device("cpu.bulk.b.c") == ("gpu.bulk.b.c", "cpu.bulk.b.c")
    assert on_every_device("control") == ("control",)


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_a_failure_keeps_whether_a_retry_can_cure_it(kind: type[PigeonholeError]):
    failure = decode(Failure, encode(failure_of(kind("no"))))

    assert failure.retryable is kind.retryable
    assert error_of(failure).retryable is kind.retryable
