"""Celery as the doorbell: the one app configuration, and `ring`.

Messages carry no work, so they are acknowledged early. If one is lost, the keeper sends another; a
duplicate finds no work. No unacknowledged message can be restored late, or occupy the worker's
prefetch while Redis is unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shared.adapters.redis.address import RedisAddress
from shared.adapters.redis.client import broker_error
from shared.messages import DRAIN

if TYPE_CHECKING:
    from celery import Celery


def celery_app(
    redis_url: str,
    *,
    timeout_s: float,
    socket_timeout_s: float,
    dropped: Callable[[], object] | None = None,
) -> Celery:
    """The Celery application of API and workers; imported late, because it costs 0.3 s.

    `dropped` is called for each message of a queue that is no doorbell.
    """
    from celery import Celery

    address = RedisAddress.of(redis_url)
    transport = "SentinelDoorbellTransport" if address.primary else "DoorbellTransport"
    app = Celery("pigeonhole", broker=address.broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        task_create_missing_queues=True,
        task_default_queue="control",
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
        broker_pool_limit=16,
        broker_pool_acquire_timeout=timeout_s,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that takes no writes is waited for,
        worker_consumer="shared.adapters.celery.consumer:PatientConsumer",  # with pauses
        broker_transport=f"shared.adapters.celery.transport:{transport}",
        broker_use_ssl=None
        if address.ssl is None
        else {"ssl_cert_reqs": "required", **address.ssl},
        broker_transport_options={
            "master_name": address.primary,
            "sentinel_kwargs": _Private(address.sentinel_connection(timeout_s=timeout_s)),
            "dropped": None if dropped is None else _Hook(dropped),
            "visibility_timeout": 600,
            "socket_timeout": socket_timeout_s,
            "socket_connect_timeout": timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "priority_steps": [0],
            "queue_order_strategy": "priority",
        },
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        task_send_sent_event=False,
        # Without it a worker that lost its broker can wait for ever on a dead connection.
        worker_enable_remote_control=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
    )
    return app


class _Hook:
    """A function among the transport options, which `celery inspect stats` sends as JSON."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def __call__(self) -> None:
        self._call()

    def __json__(self) -> str:
        return "a function"


class _Private(Mapping[str, Any]):
    """Arguments among the transport options whose values, such as a password, are not sent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __json__(self) -> list[str]:
        return list(self._values)


class CeleryDoorbell:
    """`shared.ports.Doorbell` by one Celery message without payload."""

    def __init__(self, redis_url: str, *, timeout_s: float) -> None:
        self._redis_url = redis_url
        self._timeout_s = timeout_s

    @cached_property
    def _app(self) -> Any:
        timeout_s = self._timeout_s
        return celery_app(self._redis_url, timeout_s=timeout_s, socket_timeout_s=timeout_s)

    def ring(self, queue: str) -> None:
        try:
            # Without `expires`: a worker would judge it by its own wall clock and throw bells away.
            # The ledger keeps old ones from piling up: it has no more than eight rung per queue.
            self._app.send_task(DRAIN, args=(queue,), queue=queue)
        except Exception as exc:  # kombu lets redis-py's errors through beside its own
            raise broker_error(exc) from exc
