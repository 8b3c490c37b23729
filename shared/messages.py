"""Messages and stored requests: JSON with a schema number; old numbers stay readable.

Three documents: `Call` (a synchronous call on its way to a worker), `Reply` (its result) and
`Submission` (the request of a durable job on the object store). Also the names of tasks and queues.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Generic, TypeVar

from pydantic import Field, ValidationError

from shared.errors import FieldError, MessageTooNew, MessageUndecodable, PigeonholeError, tree
from shared.job_kinds import JOB_KINDS, Body, Lane
from shared.jobs import Job
from shared.types import Failure, JobResult, Priority, Value

SCHEMA = 1
DRAIN = "pigeonhole.drain"
DEVICES = ("gpu", "cpu")  # the better one first
CONTROL = "control"
_LANES: dict[Lane, str] = {each: each.name.lower() for each in Priority} | {"train": "train"}


def queue_for(device: str, lane: Lane, model: str) -> str:
    """The queue of a device, a lane and a model: who consumes it can run what is in it.

    >>> queue_for("cpu", Priority.STANDARD, "all-MiniLM-L6-v2"), queue_for("gpu", "train", "bge-m3")
    ('cpu.standard.all-MiniLM-L6-v2', 'gpu.train.bge-m3')
    """
    return f"{device}.{_LANES[lane]}.{model}"


def queues_of(device: str, models: Iterable[str]) -> tuple[str, ...]:
    """The queues a worker of the device consumes with these models, first served first."""
    held = tuple(models)
    return (*(queue_for(device, lane, model) for lane in _LANES for model in held), CONTROL)


def lane_of(queue: str) -> str:
    """The queue without its model.

    >>> lane_of("cpu.train.ViT-L-14@datacomp.xl"), lane_of(CONTROL)
    ('cpu.train', 'control')
    """
    return ".".join(queue.split(".", 2)[:2])


def model_of(queue: str) -> str:
    """The model of the queue; none of `CONTROL`.

    >>> model_of("cpu.train.ViT-L-14@datacomp.xl")
    'ViT-L-14@datacomp.xl'
    """
    return queue.partition(".")[2].partition(".")[2]


def on_every_device(queue: str) -> tuple[str, ...]:
    """The queues of the same work on each device, the better device first.

    >>> on_every_device("cpu.bulk.bge-m3"), on_every_device(CONTROL)
    (('gpu.bulk.bge-m3', 'cpu.bulk.bge-m3'), ('control',))
    """
    device, dot, rest = queue.partition(".")
    return tuple(f"{each}.{rest}" for each in DEVICES) if dot else (device,)


def priority_of(queue: str) -> Priority:
    """The priority that the queue's name stands for; training and control count as standard."""
    names = {each.name.lower(): each for each in Priority}
    return names.get(lane_of(queue).partition(".")[2], Priority.STANDARD)


class Call(Value):
    """An inline request: the client that waits for `reply_to` is its durability."""

    schema_number: int = SCHEMA
    request_id: str
    reply_to: str
    deadline: float  # seconds since 1970; work is dropped after it
    priority: Priority = Priority.STANDARD
    account: str = ""  # whose turn it takes
    # Of a process that traces: the trace that goes on, and when the call was sent.
    traceparent: str | None = Field(default=None, exclude_if=lambda parent: parent is None)
    sent_at: float | None = Field(default=None, exclude_if=lambda at: at is None)
    body: Body


_R = TypeVar("_R", bound=JobResult)


class Reply(Value, Generic[_R]):
    """The answer to a call: a result or a failure. It is read as `reply_of` the kind of the call,
    which the caller knows. `warmup_ms` is how long it waited for the weights of a model.
    """

    schema_number: int = SCHEMA
    result: _R | None = None
    failure: Failure | None = None
    warmup_ms: int = 0


@cache
def reply_of(kind: str) -> type[Reply[JobResult]]:
    """The class of the replies to calls of a kind."""
    return Reply.__class_getitem__(JOB_KINDS[kind].result)  # type: ignore[return-value]


class Submission(Value):
    """An accepted durable job: who asked, in which dialect, for what."""

    schema_number: int = SCHEMA
    job: Job
    request_id: str
    dialect: str
    body: Body


_V = TypeVar("_V", bound=Value)


def encode(value: Value) -> bytes:
    """The JSON bytes of a document."""
    return value.model_dump_json(exclude_defaults=False).encode()


def decode(kind: type[_V], data: bytes) -> _V:
    """Read a document of any schema that was ever written.

    Raises:
        MessageUndecodable: The bytes are not such a document.
        MessageTooNew: They are of a newer schema.
    """
    try:
        value = kind.model_validate_json(data)
    except ValidationError as exc:
        places = ", ".join(".".join(map(str, e["loc"])) for e in exc.errors()[:3])
        raise MessageUndecodable(
            f"not a {kind.__name__}: wrong at {places or 'the root'}"
        ) from None
    if getattr(value, "schema_number", SCHEMA) > SCHEMA:
        raise MessageTooNew(f"a {kind.__name__} of a newer schema; update this process")
    return value


_BY_CODE: dict[str, type[PigeonholeError]] = {}
_BY_KIND: dict[tuple[str, bool], type[PigeonholeError]] = {}
for _cls in reversed(tree()):
    _BY_CODE[_cls.code] = _cls  # a base comes after its children, so it wins its shared code
    _BY_KIND[_cls.code, _cls.retryable] = _cls


def failure_of(error: PigeonholeError) -> Failure:
    """An error at rest."""
    return Failure(
        code=error.code,
        detail=error.detail,
        fields=tuple((f.field, f.message, f.type) for f in error.fields),
        retry_after_s=error.retry_after_s,
        retryable=error.retryable,
    )


def error_of(failure: Failure) -> PigeonholeError:
    """The error that a failure stands for."""
    by_code = _BY_CODE.get(failure.code, PigeonholeError)
    cls = _BY_KIND.get((failure.code, failure.retryable), by_code)
    fields = tuple(FieldError(field=f, message=m, type=t) for f, m, t in failure.fields)
    return cls(failure.detail, fields=fields, retry_after_s=failure.retry_after_s)
