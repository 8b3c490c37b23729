"""Webhooks on real processes: jobs end, a receiver on loopback is told, and keepers are killed."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_batches import upload
from tests.stack import LABELS, Stack, running_stack
from tests.third_party_servers import Stranger, page, stranger
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.integration
AGAIN_S = 40  # the second attempt comes after 5 s and a look of the keeper


@dataclass
class Town:
    """Receivers by path, behind one port that the operator has allowed, and a service."""

    receivers: dict[str, Receiver] = field(default_factory=dict)
    server: Stranger | None = None
    stack: Stack | None = None

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        receiver = self.receivers.get(head.split(b" ", 2)[1].decode())
        (receiver or page(b"", status="404 Not Found"))(connection, head)

    def hook(self, name: str, *statuses: str, **said: Any) -> tuple[dict[str, Any], Receiver]:
        """A webhook with a receiver of its own."""
        receiver = self.receivers[f"/{name}"] = Receiver(*statuses)
        url = self.server.url(f"/{name}")
        made = self.stack.call("POST", "/v1/webhooks", {"url": url, **said})
        assert made.status == 201, made.body
        return made.json(), receiver

    def get(self, path: str) -> Any:
        answer = self.stack.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def log(self, hook: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.get(f"/v1/webhooks/{hook['id']}/deliveries")["data"])

    def until_logged(self, hook: dict[str, Any], **said: object) -> dict[str, Any]:
        """The newest message once it is as said."""

        def there() -> bool:
            log = self.log(hook)
            return bool(log) and said.items() <= log[0].items()

        self.stack.until(str(said), there, timeout_s=AGAIN_S)
        return self.log(hook)[0]

    def forget(self) -> None:
        for each in self.get("/v1/webhooks")["data"]:
            self.stack.call("DELETE", f"/v1/webhooks/{each['id']}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town()
    folder: Path = tmp_path_factory.mktemp("webhooks")
    with (
        stranger(town) as town.server,
        running_stack(
            folder, fetch_networks="127.0.0.0/8", fetch_ports=town.server.port, audit_s=2
        ) as town.stack,
    ):
        yield town


@pytest.fixture
def town(running: Town) -> Iterator[Town]:
    yield running
    running.forget()


def test_the_end_of_a_job_is_told_and_told_again_where_it_failed(town: Town):
    hook, receiver = town.hook("job", "500 No", "200 OK")

    job_id = town.stack.submit("a red rose and a word that stays here")

    first, second = receiver.wait_for(2, timeout_s=AGAIN_S)
    assert first.id == second.id
    assert first.body == second.body
    assert first.signed_by(hook["secret"])
    assert second.signed_by(hook["secret"])
    said = first.json()
    assert (said["type"], said["data"]["id"]) == ("job.succeeded", job_id)
    assert b"stays here" not in first.body
    told = town.until_logged(hook, status="delivered")
    assert [each["status"] for each in told["attempts"]] == [500, 200]
    job = town.stack.job(job_id)
    assert said["data"] == {**job, "result": None, "result_url": f"/v1/jobs/{job_id}/result"}


def test_the_end_of_a_batch_is_told_as_one(town: Town):
    hook, receiver = town.hook("batch", events=["batch.completed"])
    rows = b"\n".join(json.dumps({"text": f"a {LABELS[n % 2]} thing"}).encode() for n in range(20))
    body = {
        "input_file_id": upload(town.stack, rows),
        "endpoint": "/v1/classify",
        "completion_window": "24h",
        "classify": {"labels": LABELS},
        "metadata": {"team": "a"},
    }
    made = town.stack.call("POST", "/v1/batches", body)
    assert made.status == 200, made.body

    (message,) = receiver.wait_for(1, timeout_s=AGAIN_S)

    assert message.signed_by(hook["secret"])
    assert message.json()["type"] == "batch.completed"
    batch_id = made.json()["id"]
    ended = town.stack.call("GET", f"/v1/batches/{batch_id}").json()
    assert ended["output_file_id"]
    assert message.json()["data"] == {
        "id": batch_id,
        "object": "batch",
        "status": "completed",
        "request_counts": {"total": 20, "completed": 20, "failed": 0},
        "output_file_id": ended["output_file_id"],
        "error_file_id": None,
        "output_url": None,
        "error_url": None,
        "created_at": ended["created_at"],
        "metadata": {"team": "a"},
    }


def test_who_answers_410_is_told_nothing_more(town: Town):
    hook, receiver = town.hook("gone", "410 Gone")
    town.stack.submit()
    receiver.wait_for(1, timeout_s=AGAIN_S)
    path = f"/v1/webhooks/{hook['id']}"
    town.stack.until("disabled", lambda: not town.get(path)["enabled"])
    assert "410" in town.get(path)["disabled_reason"]

    job_id = town.stack.submit()
    town.stack.until("the job has ended", lambda: town.stack.job(job_id)["finished_at"])
    town.stack.until("its marker is gone", lambda: not list_open(town.stack))

    assert len(receiver.messages) == 1
    assert len(town.log(hook)) == 1


def list_open(stack: Stack) -> list[Path]:
    folder = stack.folder / "objects" / "open.d"
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_rotated_secret_signs_beside_the_old_one(town: Town):
    hook, receiver = town.hook("rotated")
    rotated = town.stack.call("POST", f"/v1/webhooks/{hook['id']}/rotate").json()
    assert town.stack.call("POST", f"/v1/webhooks/{hook['id']}/test").status == 202

    (message,) = receiver.wait_for(1, timeout_s=AGAIN_S)

    assert message.json()["type"] == "webhook.test"
    assert rotated["secret"] != hook["secret"]
    assert message.signed_by(hook["secret"])
    assert message.signed_by(rotated["secret"])


def test_a_message_is_sent_again_when_asked(town: Town):
    hook, receiver = town.hook("again")
    town.stack.submit()
    receiver.wait_for(1, timeout_s=AGAIN_S)
    told = town.until_logged(hook, status="delivered")

    path = f"/v1/webhooks/{hook['id']}/deliveries/{told['id']}/resend"
    assert town.stack.call("POST", path).status == 202
    first, second = receiver.wait_for(2, timeout_s=AGAIN_S)

    assert first.id == second.id == told["id"]
    assert len(town.until_logged(hook, status="delivered")["attempts"]) == 2


def test_kills_of_the_keeper_between_attempts_and_in_one_lose_nothing(town: Town):
    hook, receiver = town.hook("hunted", "500 No", "500 No", "200 OK")
    job_id = town.stack.submit()
    receiver.wait_for(1, timeout_s=AGAIN_S)
    town.until_logged(hook, status="pending")
    town.stack.kill("keeper", signal.SIGKILL)  # between the first and the second attempt

    receiver.holds.clear()
    town.stack.start("keeper")
    receiver.wait_for(2, timeout_s=AGAIN_S)
    town.stack.kill("keeper", signal.SIGKILL)  # while the receiver has not answered
    receiver.holds.set()
    town.stack.start("keeper")

    messages = receiver.wait_for(3, timeout_s=2 * AGAIN_S)  # once the claim of the dead has ended
    assert {message.id for message in messages} == {messages[0].id}
    assert messages[0].json()["data"]["id"] == job_id
    assert town.until_logged(hook, status="delivered")["id"] == messages[0].id
    assert len(town.log(hook)) == 1


def test_a_receiver_that_hangs_delays_neither_leases_nor_others(town: Town):
    _, slow = town.hook("slow")
    slow.holds.clear()
    try:
        before = [town.stack.submit() for _ in range(20)]
        slow.wait_for(2, timeout_s=AGAIN_S)
        town.stack.until(  # or their ends are told to the next webhook too
            "these have ended", lambda: all(town.stack.job(each)["finished_at"] for each in before)
        )
        _, quick = town.hook("quick")
        began = len(town.stack.events("keeper", "webhook.tried"))

        job_id = town.stack.submit()
        message = quick.wait_for(1, timeout_s=30)[0]

        assert message.json()["data"]["id"] == job_id
        assert slow.max_inside == 2
        assert town.stack.call("GET", "/health/ready").status == 200
        assert len(town.stack.events("keeper", "webhook.tried")) >= began
    finally:
        slow.holds.set()
