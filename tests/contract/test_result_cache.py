"""The contract of the result cache, on every implementation; its bound, on Redis."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import redis

from api.services.recent_results import RecentResults
from shared.adapters.redis.client import connect
from shared.adapters.redis.result_cache import TIMEOUT_S, RedisResultCache
from shared.errors import BrokerUnavailable
from shared.result_cache import ResultCache
from tests.fakes import FakeResultCache
from tests.servers import HOST, free_port

MIB = 2**20


@pytest.fixture(params=["fake", "recent", pytest.param("redis", marks=pytest.mark.integration)])
def cache(request: pytest.FixtureRequest) -> ResultCache:
    if request.param == "fake":
        return FakeResultCache()
    if request.param == "recent":
        return RecentResults(FakeResultCache())
    return RedisResultCache(request.getfixturevalue("redis_client"), max_bytes=MIB)


class TestContract:
    def test_an_entry_is_read_back_with_its_age(self, cache: ResultCache):
        data = bytes(range(256)) + b" 1 2 \r\n"
        cache.put("acme", {b"k": data}, ttl_s=60)
        time.sleep(0.02)

        found = cache.get("acme", [b"none", b"k"])

        assert found.keys() == {b"k"}
        assert found[b"k"].data == data
        assert 0.01 <= found[b"k"].age_s < 5

    def test_a_second_put_replaces_the_entry(self, cache: ResultCache):
        cache.put("acme", {b"k": b"old", b"other": b"stays"}, ttl_s=60)
        cache.put("acme", {b"k": b"new"}, ttl_s=60)

        found = cache.get("acme", [b"k", b"other"])

        assert {key: entry.data for key, entry in found.items()} == {
            b"k": b"new",
            b"other": b"stays",
        }

    def test_accounts_do_not_see_each_others_entries(self, cache: ResultCache):
        cache.put("acme", {b"k": b"data"}, ttl_s=60)

        assert cache.get("umbrella", [b"k"]) == {}

    def test_an_entry_expires(self, cache: ResultCache):
        cache.put("acme", {b"short": b"data"}, ttl_s=0.05)
        cache.put("acme", {b"long": b"data"}, ttl_s=60)
        time.sleep(0.1)

        assert cache.get("acme", [b"short", b"long"]).keys() == {b"long"}

    def test_no_keys_and_no_entries_are_fine(self, cache: ResultCache):
        cache.put("acme", {}, ttl_s=60)

        assert cache.get("acme", []) == {}


def held_bytes(client: redis.Redis) -> int:
    return sum(client.memory_usage(key) or 0 for key in client.scan_iter("ph3:cache:*"))


def keys(name: str, count: int) -> list[bytes]:
    return [f"{name}-{i:011}".encode() for i in range(count)]


@pytest.mark.integration
class TestRedis:
    def test_the_bound_holds_in_memory_too(self, redis_client: redis.Redis):
        cache = RedisResultCache(redis_client, max_bytes=MIB)
        for start in range(0, 20_000, 500):
            cache.put(
                "acme", {f"{start + i:016}".encode(): b"x" * 40 for i in range(500)}, ttl_s=60
            )

        assert 0.5 * MIB < held_bytes(redis_client) < 1.2 * MIB
        assert cache.get("acme", [b"%016d" % 19_999])
        assert not cache.get("acme", [b"%016d" % 0])

    def test_the_account_with_the_most_bytes_makes_room(self, redis_client: redis.Redis):
        cache = RedisResultCache(redis_client, max_bytes=100_000)
        small = keys("small", 20)
        cache.put("small", dict.fromkeys(small, b"x"), ttl_s=60)
        for start in range(0, 2_000, 100):
            cache.put("large", {f"{start + i:016}".encode(): b"x" for i in range(100)}, ttl_s=60)

        assert len(cache.get("small", small)) == 20

    def test_what_has_expired_takes_no_room(self, redis_client: redis.Redis):
        cache = RedisResultCache(redis_client, max_bytes=100_000)
        cache.put("idle", dict.fromkeys(keys("idle", 400), b"x"), ttl_s=0.05)
        time.sleep(0.1)
        fresh = keys("fresh", 450)
        cache.put("acme", dict.fromkeys(fresh, b"x"), ttl_s=60)

        assert len(cache.get("acme", fresh)) == 450
        assert int(redis_client.get("ph3:cache:total") or 0) <= 100_000

    def test_an_entry_larger_than_the_cache_is_dropped(self, redis_client: redis.Redis):
        cache = RedisResultCache(redis_client, max_bytes=1000)
        cache.put("acme", {b"k": b"x" * 2000}, ttl_s=60)

        assert cache.get("acme", [b"k"]) == {}
        assert redis_client.get("ph3:cache:total") == b"0"

    def test_a_server_that_is_away_costs_little_time(self):
        away = RedisResultCache.of(
            f"redis://{HOST}:{free_port()}/0", max_bytes=1, max_connections=2
        )

        with pytest.raises(BrokerUnavailable):
            away.get("acme", [b"k"])

    def test_a_server_that_does_not_respond_costs_little_time(self):
        with socket.create_server((HOST, 0)) as silent:
            url = f"redis://{HOST}:{silent.getsockname()[1]}/0"
            cache = RedisResultCache.of(url, max_bytes=1, max_connections=2)
            began = time.monotonic()

            with pytest.raises(BrokerUnavailable):
                cache.get("acme", [b"k"])

            assert time.monotonic() - began < 10 * TIMEOUT_S

    def test_many_threads_write_and_read(self, redis_url: str, redis_client: redis.Redis):
        cache = RedisResultCache(connect(redis_url, timeout_s=5), max_bytes=200_000)

        def work(name: str) -> None:
            for i in range(100):
                cache.put(name, {f"{i:016}".encode(): b"x" * 100}, ttl_s=60)
                cache.get(name, keys(name, 10))

        threads = [threading.Thread(target=work, args=(f"account{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        counted = redis_client.zrange("ph3:cache:bytes", 0, -1, withscores=True)
        assert sum(size for _, size in counted) == int(redis_client.get("ph3:cache:total") or 0)
