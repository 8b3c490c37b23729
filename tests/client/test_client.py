"""The client against a real service: classify, train, evaluate, jobs, errors, both kinds."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path

import pytest
from pigeonhole_client import AsyncPigeonhole, Error, JobFailed, Pigeonhole
from pigeonhole_client.errors import (
    BadRequest,
    ConfigurationError,
    ConnectionFailed,
    InvalidKey,
    InvalidLabels,
    NotFound,
    TooBusy,
)

from tests.client.service import LABELS, url
from tests.servers import free_port
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration

EXAMPLES = [("a red rose", "red"), ("a green leaf", "green")] * 4


def test_more_inputs_than_a_request_may_have_come_back_in_their_order(
    client: Pigeonhole,
) -> None:
    colours = [LABELS[number % 3 == 0] for number in range(3000)]

    answer = client.classify([f"{colour} {n}" for n, colour in enumerate(colours)], LABELS)

    assert [entry.index for entry in answer.data] == list(range(3000))
    assert [entry.prediction for entry in answer.data] == colours
    assert answer.usage.total_tokens > 3000


def test_a_service_with_a_lower_limit_is_sent_smaller_requests(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, max_inputs=10) as small,
        Pigeonhole(url(small), small.key) as client,
    ):
        answer = client.classify([f"red {number}" for number in range(95)], LABELS)

    assert [entry.index for entry in answer.data] == list(range(95))


def test_an_error_names_the_input_by_its_index_among_all(client: Pigeonhole) -> None:
    inputs = ["a rose"] * 600
    inputs[517] = ""

    with pytest.raises(BadRequest, match=r"input\[517\]") as raised:
        client.classify(inputs, LABELS)

    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("req_")
    assert raised.value.fields[0].field.startswith("input[517]")


def test_several_questions_are_answered_by_name(client: Pigeonhole) -> None:
    (entry,) = client.classify("a red rose", {"colour": LABELS, "mood": ["calm", "angry"]}).data

    assert isinstance(entry.prediction, dict)
    assert entry.prediction["colour"] == "red"
    assert isinstance(entry.predictions, dict)
    assert len(entry.predictions["mood"]) == 2


def test_wrong_arguments_are_refused_before_anything_is_sent(client: Pigeonhole) -> None:
    with pytest.raises(ConfigurationError, match="either labels or a classifier"):
        client.classify("a rose")
    with pytest.raises(ConfigurationError, match="labels is one text"):
        client.classify("a rose", "red")
    with pytest.raises(TypeError, match="unknown option 'treshold'"):
        client.classify("a rose", LABELS, treshold=0.5)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="PIGEONHOLE_URL"):
        Pigeonhole()


def test_errors_are_exceptions_by_their_code(client: Pigeonhole, stack: Stack) -> None:
    with pytest.raises(InvalidLabels, match="at least 2"):
        client.classify("a rose", ["red"])
    with pytest.raises(NotFound):
        client.classifiers.get("nobody")
    with pytest.raises(NotFound) as raised:  # these paths answer in the shape of the OpenAI API
        client.batches.get("batch_zybr2d8n1bhpjq8jg8tqpy78gn")
    assert raised.value.code == "RESOURCE_NOT_FOUND"
    assert raised.value.request_id
    with Pigeonhole(url(stack), "ph_wrong") as stranger, pytest.raises(InvalidKey):
        stranger.models.list()


def test_a_classifier_is_trained_judged_used_changed_and_deleted(
    client: Pigeonhole, tmp_path: Path
) -> None:
    file = tmp_path / "examples.csv"
    file.write_text("words,colour\n" + "".join(f"{text},{label}\n" for text, label in EXAMPLES))

    first = client.train(file, name="colours", text_column="words", label_column="colour")
    second = client.train([{"text": "a blue sky", "label": "blue"}], classifier="colours")
    report = client.evaluate("colours", [*EXAMPLES, ("the blue sea", "blue")])

    assert (first.version, second.version) == (1, 2)
    assert first.num_samples == len(EXAMPLES)
    assert second.labels == ["red", "green", "blue"]
    assert report.accuracy > 0.8
    assert sum(map(sum, report.confusion_matrix.counts)) == report.num_samples == 9
    assert client.classify("red", classifier="colours@v1").data[0].prediction == "red"
    changed = client.classifiers.update("colours", aliases={"champion": 1})
    assert changed.aliases == {"champion": 1}
    assert [each.version for each in client.classifiers.versions("colours")] == [2, 1]
    assert client.classifiers.rollback("colours", version=1).version == 3
    assert "colours" in {each.name for each in client.classifiers.list()}
    client.classifiers.delete("colours")
    with pytest.raises(NotFound):
        client.classifiers.get("colours")


def test_a_job_that_fails_raises_its_reason(client: Pigeonhole, tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    file.write_text("text,label\na,\n")

    with pytest.raises(JobFailed) as raised:
        client.train(file)

    assert raised.value.job.status == "failed"
    assert raised.value.job.error is not None
    assert "line 2" in str(raised.value)


def test_lists_go_on_over_pages(client: Pigeonhole, stack: Stack) -> None:
    submitted = [stack.submit() for _ in range(103)]

    listed = [job.id for job in client.jobs.list()]

    assert set(submitted) <= set(listed)
    assert len(listed) == len(set(listed))
    assert [job.id for job in client.jobs.list(limit=101)] == listed[:101]
    assert all(client.jobs.wait(job_id).result for job_id in submitted[:2])


def test_the_asynchronous_client_does_the_same(stack: Stack, tmp_path: Path) -> None:
    async def scene() -> None:
        async with AsyncPigeonhole(url(stack), stack.key) as client:
            answers = await asyncio.gather(
                *(client.classify([f"red {n}"] * 300, LABELS) for n in range(3))
            )
            assert [len(answer.data) for answer in answers] == [300] * 3
            trained = await client.train(EXAMPLES)
            found = await client.classify("red", classifier=trained.classifier_id)
            assert found.data[0].prediction == "red"
            assert trained.job_id in [job.id async for job in client.jobs.list(limit=5)]
            file = await client.files.upload(_written(tmp_path / "a.txt"), purpose="user_data")
            assert (await client.files.get(file.id)).bytes == 5
            path = await client.files.download(file.id, tmp_path / "b.txt")
            assert path.read_bytes() == b"hello"
            await client.files.delete(file.id)
            with pytest.raises(BadRequest, match=r"input\[2\]"):
                await client.classify(["a", "b", ""], LABELS)

    asyncio.run(scene())


def _written(path: Path) -> Path:
    path.write_bytes(b"hello")
    return path


def test_too_many_calls_at_once_are_waited_out(tmp_path: Path) -> None:
    """With 8 places for calls and a worker that stands still, the others get 429 until it goes."""
    waits: list[Error] = []
    answers: list[int] = []

    with running_stack(tmp_path, api_threads=24) as busy:

        def call() -> None:
            with Pigeonhole(
                url(busy), busy.key, on_wait=lambda _, why: waits.append(why)
            ) as client:
                answers.append(len(client.classify("a red rose", LABELS).data))

        busy.freeze("worker")
        threads = [threading.Thread(target=call) for _ in range(24)]
        for thread in threads:
            thread.start()
        busy.until("a call is refused", lambda: waits)
        time.sleep(1)
        busy.send("worker", signal.SIGCONT)
        for thread in threads:
            thread.join(60)

    assert answers == [1] * 24
    assert {type(why) for why in waits} == {TooBusy}


def test_a_restart_of_the_api_is_waited_out(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack, Pigeonhole(url(stack), stack.key) as client:
        client.classify("a red rose", LABELS)
        stack.kill("api")
        threading.Timer(2, stack.start, args=["api"]).start()

        trained = client.train(EXAMPLES)
        answer = client.classify("a red rose", LABELS)

    assert trained.version == 1
    assert answer.data[0].prediction == "red"


def test_a_service_that_is_not_there_is_named_within_the_patience() -> None:
    waits: list[float] = []
    address = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()

    with (
        Pigeonhole(address, "ph_x", patience_s=2, on_wait=lambda s, _: waits.append(s)) as client,
        pytest.raises(ConnectionFailed, match=address),
    ):
        client.models.list()

    assert waits
    assert time.monotonic() - began < 20
