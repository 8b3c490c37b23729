"""The contract of replies, on every implementation; how threads share one reader, on Redis."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis

from shared.adapters.redis.client import connect
from shared.adapters.redis.replies import RedisReplies
from shared.errors import BrokerUnavailable
from shared.ports import Replies
from tests.fakes import FakeReplies
from tests.servers import HOST, free_port


@pytest.fixture(params=["fake", pytest.param("redis", marks=pytest.mark.integration)])
def replies(request: pytest.FixtureRequest) -> Replies:
    if request.param == "fake":
        return FakeReplies()
    return RedisReplies(request.getfixturevalue("redis_client"))


class TestContract:
    def test_a_reply_reaches_its_caller_byte_for_byte(self, replies: Replies):
        data = bytes(range(256)) + b"\n\r\n/"
        with replies.expected() as expected:
            replies.send([(expected, data)], keep_s=60)

            assert replies.wait(expected, timeout_s=5) == data

    def test_each_caller_gets_its_own_reply(self, replies: Replies):
        with replies.expected() as first, replies.expected() as second:
            replies.send([(second, b"2"), (first, b"1")], keep_s=60)

            assert replies.wait(first, timeout_s=5) == b"1"
            assert replies.wait(second, timeout_s=5) == b"2"

    def test_a_caller_without_a_reply_waits_as_long_as_it_says(self, replies: Replies):
        began = time.monotonic()
        with replies.expected() as expected:
            assert replies.wait(expected, timeout_s=0.2) is None

        assert 0.15 < time.monotonic() - began < 2

    def test_a_late_reply_disturbs_nobody(self, replies: Replies):
        with replies.expected() as gone:
            pass
        replies.send([(gone, b"late")], keep_s=60)
        with replies.expected() as expected:
            replies.send([(expected, b"mine")], keep_s=60)

            assert replies.wait(expected, timeout_s=5) == b"mine"

    def test_many_callers_at_once(self, replies: Replies):
        calls = 400

        def call(number: int) -> bool:
            with replies.expected() as expected:
                waiting.append((expected, b"%d" % number))
                return replies.wait(expected, timeout_s=20) == b"%d" % number

        waiting: list[tuple[str, bytes]] = []
        sent = 0
        with ThreadPoolExecutor(24) as pool:
            found = [pool.submit(call, number) for number in range(calls)]
            while sent < calls:
                batch = waiting[sent:]
                if batch:
                    replies.send(batch, keep_s=60)
                    sent += len(batch)

        assert all(each.result() for each in found)


@pytest.mark.integration
class TestOneReader:
    def test_another_thread_reads_on_when_the_reader_has_its_reply_or_gives_up(
        self, redis_client: redis.Redis
    ):
        replies = RedisReplies(redis_client)
        with replies.expected() as first, replies.expected() as last, ThreadPoolExecutor(2) as pool:
            reader = pool.submit(replies.wait, first, timeout_s=0.3)
            time.sleep(0.1)
            follower = pool.submit(replies.wait, last, timeout_s=10)
            assert reader.result() is None
            began = time.monotonic()
            replies.send([(last, b"last")], keep_s=60)

            assert follower.result() == b"last"
            assert time.monotonic() - began < 2

    def test_a_follower_that_gives_up_leaves_the_reader_alone(self, redis_client: redis.Redis):
        replies = RedisReplies(redis_client)
        with replies.expected() as first, replies.expected() as last, ThreadPoolExecutor(1) as pool:
            reader = pool.submit(replies.wait, first, timeout_s=10)
            time.sleep(0.1)
            assert replies.wait(last, timeout_s=0.2) is None
            replies.send([(first, b"first")], keep_s=60)

            assert reader.result() == b"first"

    def test_all_that_wait_learn_at_once_that_redis_is_away(self):
        with ExitStack() as opened:
            client = opened.enter_context(connect(f"redis://{HOST}:{free_port()}/0", timeout_s=2))
            replies = RedisReplies(client)
            replies._led = True  # as while another thread reads
            pool = opened.enter_context(ThreadPoolExecutor(2))
            both = [opened.enter_context(replies.expected()) for _ in range(2)]
            waits = [pool.submit(replies.wait, each, timeout_s=30) for each in both]
            time.sleep(0.1)
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                replies._read(1.0)

            for wait in waits:
                with pytest.raises(BrokerUnavailable):
                    wait.result()

        assert time.monotonic() - began < 2

    def test_a_name_of_an_earlier_version_is_a_list_for_one_reply(self, redis_client: redis.Redis):
        RedisReplies(redis_client, prefix="p:").send([("old", b"answer")], keep_s=60)

        assert redis_client.lrange("p:old", 0, -1) == [b"answer"]
        assert 50 < redis_client.ttl("p:old") <= 60

    def test_what_nobody_reads_expires(self, redis_client: redis.Redis):
        replies = RedisReplies(redis_client, prefix="q:")
        with replies.expected() as expected:
            replies.send([(expected, b"answer")], keep_s=60)

            (name,) = redis_client.keys("q:*")
            assert 50 < redis_client.ttl(name) <= 60
