"""The transport of doorbells: kombu's Redis transport, which passes on doorbells only.

Any client with the Redis password can put anything into a queue. Several malformed messages end a
Celery process: a body that is missing, not JSON or broken base64; an id that is a list; a time
limit that is a number. So each message is checked before Celery sees it: it must be a doorbell of
the queue it came from. A new message is made from the doorbell; all else is dropped, counted and
logged.
"""

from __future__ import annotations

import base64
import json
from queue import Empty
from typing import Any

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str

from shared.messages import DRAIN
from shared.telemetry import Log

log = Log("doorbell")
_MAX_BODY_CHARS = 4096  # a doorbell has about 200
_MAX_ID_CHARS = 128
_PIDBOX = ".pidbox"  # Celery's remote control, which is no queue of doorbells


def doorbell(message: object, queue: str) -> dict[str, Any] | None:
    """The message as kombu delivers it, if it rings for the queue; else None."""
    try:
        assert isinstance(message, dict)
        headers, properties, body = message["headers"], message["properties"], message["body"]
        tag, name = properties["delivery_tag"], headers["id"]
        assert headers["task"] == DRAIN
        assert message["content-type"] == "application/json"
        assert message["content-encoding"] == "utf-8"
        assert properties["body_encoding"] == "base64"
        assert not headers.get("compression")
        for text, most in ((tag, _MAX_ID_CHARS), (name, _MAX_ID_CHARS), (body, _MAX_BODY_CHARS)):
            assert isinstance(text, str)
            assert 0 < len(text) <= most
        args, kwargs, _ = json.loads(base64.b64decode(body, validate=True))
        assert (args, kwargs) == ([queue], {})
    except (AssertionError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None
    return {
        "body": base64.b64encode(json.dumps([[queue], {}, {}]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": DRAIN, "id": name},
        "properties": {
            "correlation_id": name,
            "delivery_tag": tag,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64",
            "priority": 0,
        },
    }


class _ReadsDoorbells:
    """What a channel does beside kombu's own."""

    active_queues: set[str]
    conn_or_acquire: Any
    connection: Any
    connection_errors: Any

    def _brpop_read(self, **options: Any) -> Any:
        self.connection.delivers = False
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (Empty, *self.connection_errors):
            raise
        except self.connection.channel_errors as exc:  # the reply of Redis itself
            if "WRONGTYPE" not in str(exc):
                raise
            self._delete_what_is_no_list()
        except Exception:
            if self.connection.delivers:
                raise
            self.connection.drop("", "not JSON")
        raise Empty

    def _size(self, queue: str) -> Any:
        try:
            return super()._size(queue)  # type: ignore[misc]
        except self.connection.channel_errors as exc:  # asked at the start of a worker
            if "WRONGTYPE" not in str(exc):
                raise
            self._delete_what_is_no_list(queue)
        return 0

    def _delete_what_is_no_list(self, *queues: str) -> None:
        """Free the names of queues that something else has: no doorbell gets through until then."""
        with self.conn_or_acquire() as client:
            for queue in queues or self.active_queues:
                kind = bytes_to_str(client.type(queue))
                if kind not in ("list", "none"):
                    client.delete(queue)
                    self.connection.drop(queue, f"a {kind}")


class _DeliversDoorbells:
    """What a transport does beside kombu's own."""

    client: Any
    connection_errors: Any
    delivers = False  # what was read last

    def _deliver(self, message: Any, queue: str) -> None:
        if queue.endswith(_PIDBOX):
            try:
                super()._deliver(message, queue)  # type: ignore[misc]
            except self.connection_errors:
                raise
            except Exception:  # noqa: BLE001  whatever it made Celery do, it ends nothing
                self.drop(queue, "not a command")
            return
        bell = doorbell(message, queue)
        if bell is None:
            self.drop(queue, "not a doorbell")
            return
        self.delivers = True
        super()._deliver(bell, queue)  # type: ignore[misc]

    def drop(self, queue: str, what: str) -> None:
        """Count a message that is lost."""
        log.warning("doorbell.dropped", queue=queue, what=what)
        if dropped := self.client.transport_options.get("dropped"):
            dropped()


class DoorbellChannel(_ReadsDoorbells, redis.Channel):  # type: ignore[misc]  # kombu has no types
    """Reads queues."""


class DoorbellTransport(_DeliversDoorbells, redis.Transport):  # type: ignore[misc]
    """Delivers doorbells. The option `dropped` is called for each message that is none."""

    Channel = DoorbellChannel


class SentinelDoorbellChannel(_ReadsDoorbells, redis.SentinelChannel):  # type: ignore[misc]
    """Reads queues of the primary that Sentinels name."""


class SentinelDoorbellTransport(_DeliversDoorbells, redis.SentinelTransport):  # type: ignore[misc]
    """`DoorbellTransport` for a server that Sentinels name."""

    Channel = SentinelDoorbellChannel
