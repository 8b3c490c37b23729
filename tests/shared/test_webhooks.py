from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from openai import OpenAI
from openai.types.webhooks import BatchCompletedWebhookEvent

from api.schemas.job import JobObject, render_job
from shared import ids
from shared.batches import BatchResult
from shared.jobs import (
    Cancel,
    Expire,
    Fail,
    Finalise,
    Job,
    Progress,
    Settle,
    Start,
    Succeed,
    advance,
)
from shared.types import Failure, JobKind, Usage
from shared.webhook_messages import announcement, delivery_of, trial_of
from shared.webhooks import BOTH_SIGN_S, EVENTS, Attempt, Delivery, Webhook, new_secret, signed
from tests.webhook_receiver import Message
from workers.keeper.webhook_delivery import RETRY_SCHEDULE_S

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def a_webhook(**changes: object) -> Webhook:
    return Webhook(
        id="wh_0000000000000000",
        account="acme",
        url="https://example.org/hook",
        secret=new_secret(),
        created_at=NOW,
        updated_at=NOW,
    ).model_copy(update=changes)


def a_job(kind: JobKind = JobKind.CLASSIFY) -> Job:
    return Job(
        id=ids.job_id(10**12, 5),
        account="acme",
        kind=kind,
        queue="cpu.standard",
        created_at=NOW,
        expires_at=NOW + timedelta(days=7),
        progress=Progress(total=3),
    )


def succeeded(kind: JobKind = JobKind.CLASSIFY) -> Job:
    job = advance(advance(a_job(kind), Start(), NOW), Finalise(), NOW)
    progress = Progress(total=3, completed=2, failed=1)
    return advance(job, Succeed(progress=progress, usage=Usage(input_tokens=7)), NOW)


def attempt(status: int | None = 500, *, after_s: float = 0.0, error: str | None = None) -> Attempt:
    return Attempt(at=NOW + timedelta(seconds=after_s), duration_ms=250, status=status, error=error)


def tried(delivery: Delivery, one: Attempt, **more: object) -> Delivery:
    return delivery.tried(
        one, **{"retry_after_s": None, "schedule_s": RETRY_SCHEDULE_S, "jitter": 0.0} | more
    )


def a_delivery() -> Delivery:
    job = succeeded()
    return delivery_of(job, *announcement(job), a_webhook())


class TestSignature:
    def test_a_secret_is_32_random_bytes_behind_its_prefix(self):
        one, other = new_secret(), new_secret()

        assert one != other
        assert one.startswith("whsec_")
        assert len(base64.b64decode(one.removeprefix("whsec_"))) == 32

    def test_a_stranger_can_verify_it(self):
        secret, payload = new_secret(), '{"a":"ü"}'
        headers = signed([secret], message_id="msg_1", at=NOW, payload=payload)
        message = Message(headers=headers, body=payload.encode())

        assert headers["webhook-timestamp"] == "1767268800"
        assert message.signed_by(secret)
        assert not message.signed_by(new_secret())
        assert not Message(headers=headers, body=b"{}").signed_by(secret)
        assert not Message(headers={**headers, "webhook-id": "msg_2"}, body=b"{}").signed_by(secret)

    def test_after_a_rotation_both_sign_for_a_day(self):
        old, new = new_secret(), new_secret()
        until = NOW + timedelta(seconds=BOTH_SIGN_S)
        webhook = a_webhook(secret=new, old_secret=old, old_until=until)

        assert webhook.secrets(NOW) == (new, old)
        assert webhook.secrets(until) == (new,)
        headers = signed(webhook.secrets(NOW), message_id="msg_1", at=NOW, payload="{}")
        message = Message(headers=headers, body=b"{}")
        assert message.signed_by(new)
        assert message.signed_by(old)
        assert len(headers["webhook-signature"].split(" ")) == 2

    def test_after_two_rotations_within_a_day_each_signs_until_its_own_end(self):
        first, second, third = (new_secret() for _ in range(3))
        noon, day = NOW + timedelta(hours=12), timedelta(seconds=BOTH_SIGN_S)
        webhook = a_webhook(secret=first).with_secret(second, NOW).with_secret(third, noon)

        assert webhook.secrets(noon) == (third, second, first)
        assert webhook.secrets(NOW + day) == (third, second)
        assert webhook.secrets(noon + day) == (third,)

    def test_a_secret_that_an_older_version_rotated_keeps_its_time(self):
        old, new, newest = (new_secret() for _ in range(3))
        until = NOW + timedelta(hours=1)
        webhook = a_webhook(secret=new, old_secret=old, old_until=until)

        webhook = webhook.with_secret(newest, NOW)

        assert webhook.secrets(NOW) == (newest, new, old)
        assert webhook.secrets(until) == (newest, new)

    def test_a_hundred_rotations_leave_a_bounded_number(self):
        webhook = a_webhook(secret=new_secret())
        for _ in range(100):
            webhook = webhook.with_secret(new_secret(), NOW)

        assert len(webhook.secrets(NOW)) == 21


class TestAnnouncement:
    def test_a_job_is_the_job_object_without_its_result(self):
        job = succeeded()
        event, data = announcement(job)

        assert event == "job.succeeded"
        JobObject.model_validate(data)
        shown = JobObject.model_validate(render_job(job)).model_dump(mode="json")
        assert JobObject.model_validate(data).model_dump(mode="json") == shown
        assert sorted(data) == sorted(JobObject.model_fields)

    @pytest.mark.parametrize(
        "files",
        [
            None,
            BatchResult(output_file="file-1", output_url="s3://out/1.csv"),
            BatchResult(error_file="file-2", error_url="s3://out/2.jsonl"),
        ],
    )
    def test_a_batch_is_its_id_status_counts_and_files(self, files: BatchResult | None):
        job = succeeded(JobKind.BATCH).model_copy(update={"metadata": {"team": "a"}})
        found = files or BatchResult()

        assert announcement(job, files) == (
            "batch.completed",
            {
                "id": ids.batch_id_of(job.id),
                "object": "batch",
                "status": "completed",
                "request_counts": {"total": 3, "completed": 2, "failed": 1},
                "output_file_id": found.output_file,
                "error_file_id": found.error_file,
                "output_url": found.output_url,
                "error_url": found.error_url,
                "created_at": int(job.created_at.timestamp()),
                "metadata": {"team": "a"},
            },
        )

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (JobKind.TRAIN, "job.succeeded job.failed job.expired job.cancelled"),
            (JobKind.BATCH, "batch.completed batch.failed batch.expired batch.cancelled"),
        ],
    )
    def test_every_end_has_an_event(self, kind: JobKind, words: str):
        error = Failure(code="INTERNAL_ERROR", detail="broken")
        ends = [
            succeeded(kind),
            *(advance(a_job(kind), each, NOW) for each in (Fail(error=error), Expire())),
            advance(advance(a_job(kind), Cancel(), NOW), Settle(), NOW),
        ]

        events = [announcement(each)[0] for each in ends]
        assert events == words.split()
        assert set(events) <= set(EVENTS)

    def test_an_error_is_told_and_a_payload_stays_small(self):
        fields = tuple((f"input[{n}]", "x" * 9000, "value_error") for n in range(1000))
        error = Failure(code="VALIDATION_ERROR", detail="y" * 9000, fields=fields)
        job = advance(a_job(), Fail(error=error), NOW)
        event, data = announcement(job)
        delivery = delivery_of(job, event, data, a_webhook())

        assert event == "job.failed"
        assert data["error"]["code"] == "VALIDATION_ERROR"
        assert len(delivery.payload.encode()) < 20_000

    def test_a_payload_says_type_time_and_data(self):
        said = json.loads(a_delivery().payload)

        assert set(said) == {"id", "object", "created_at", "type", "timestamp", "data"}
        assert (said["object"], said["type"]) == ("event", "job.succeeded")
        assert datetime.fromisoformat(said["timestamp"]) == NOW.replace(microsecond=123000)
        assert said["created_at"] == int(NOW.timestamp())

    def test_every_webhook_is_told_the_same_event_by_its_id(self):
        job = succeeded()
        event, data = announcement(job)
        told = [delivery_of(job, event, data, a_webhook(id=f"wh_{n}")) for n in range(2)]
        later = job.model_copy(update={"id": ids.job_id(10**12, 6)})
        other = delivery_of(later, event, data, a_webhook())

        one, two = (json.loads(each.payload) for each in told)
        assert one == two
        assert one["id"].startswith("evt_")
        assert one["id"] != json.loads(other.payload)["id"]

    def test_the_sdk_of_openai_reads_it(self):
        job, webhook = succeeded(JobKind.BATCH), a_webhook()
        event, data = announcement(job)
        told = delivery_of(job, event, data, webhook)
        at = datetime.now(UTC)
        headers = signed([webhook.secret], message_id=told.id, at=at, payload=told.payload)

        client = OpenAI(api_key="none")
        read = client.webhooks.unwrap(told.payload, headers, secret=webhook.secret)

        assert isinstance(read, BatchCompletedWebhookEvent)
        assert read.data.id == data["id"]
        assert datetime.fromtimestamp(read.created_at, UTC) == NOW.replace(microsecond=0)


class TestDelivery:
    def test_made_twice_it_is_the_same_and_each_webhook_has_its_own(self):
        job, webhook = succeeded(), a_webhook()
        event, data = announcement(job)

        one = delivery_of(job, event, data, webhook)
        assert one == delivery_of(job, event, data, webhook)
        assert one.id != delivery_of(job, event, data, a_webhook(id="wh_1")).id
        assert ids.is_delivery_id(one.id)

    def test_the_newest_sorts_first(self):
        older, newer = (trial_of(a_webhook(), NOW + timedelta(hours=n)).id for n in (0, 1))

        assert newer < older

    def test_a_success_ends_it(self):
        done = tried(a_delivery(), attempt(204))

        assert (done.state, done.next_attempt_at, len(done.attempts)) == ("delivered", None, 1)

    def test_failures_are_tried_again_by_the_schedule_until_it_ends(self):
        delivery, waits = a_delivery(), []
        for _ in RETRY_SCHEDULE_S[1:]:
            delivery = tried(delivery, attempt())
            assert delivery.state == "pending"
            ended = NOW + timedelta(milliseconds=250)
            waits.append((delivery.next_attempt_at - ended).total_seconds())
        last = tried(delivery, attempt())

        hours = [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
        assert waits == pytest.approx([hour * 3600 for hour in hours], abs=0.002)
        assert (last.state, last.next_attempt_at) == ("failed", None)
        assert last.reason == "given up after 10 attempts"

    @pytest.mark.parametrize("status", [301, 400, 404, 500, None])
    def test_anything_but_2xx_is_a_failure(self, status: int | None):
        assert tried(a_delivery(), attempt(status)).state == "pending"

    def test_410_ends_it_at_once(self):
        assert tried(a_delivery(), attempt(410)).state == "failed"

    @pytest.mark.parametrize(
        ("retry_after_s", "wait_s"), [(None, 5.0), (1.0, 5.0), (60.0, 60.0), (10**9, 86400.0)]
    )
    def test_the_receivers_word_counts_where_it_is_later(self, retry_after_s, wait_s):
        after = tried(a_delivery(), attempt(503), retry_after_s=retry_after_s)

        waited = after.next_attempt_at - NOW - timedelta(milliseconds=250)
        assert waited.total_seconds() == pytest.approx(wait_s, abs=0.002)

    def test_jitter_adds_a_tenth_at_most(self):
        after = tried(tried(a_delivery(), attempt()), attempt(), jitter=1.0)

        waited = after.next_attempt_at - NOW - timedelta(milliseconds=250)
        assert waited.total_seconds() == pytest.approx(330, abs=0.002)

    def test_sent_by_hand_it_begins_anew_and_keeps_its_log_and_id(self):
        failed = tried(a_delivery(), attempt(410))
        again = failed.again(NOW)

        assert (again.state, again.tries, len(again.attempts)) == ("pending", 0, 1)
        assert again.id == failed.id
        assert tried(again, attempt()).state == "pending"

    def test_the_log_is_bounded(self):
        delivery = a_delivery()
        for number in range(50):
            delivery = tried(delivery, attempt(after_s=number)).again(NOW)

        assert len(delivery.attempts) == 30
        assert delivery.attempts[-1].at == NOW + timedelta(seconds=49)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"events": ("job.failed",)}, False),
        ({"events": ("job.failed", "job.succeeded")}, True),
        ({"enabled": False}, False),
    ],
)
def test_a_webhook_is_told_what_it_asked_for(changes, wanted):
    assert a_webhook(**changes).wants("job.succeeded") is wanted
