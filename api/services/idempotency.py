"""`Idempotency-Key`: a repeated call runs once, and each repetition gets the same response.

The use of a key is an object on the store, made by a conditional write, so that it holds across API
processes and the loss of Redis:

    absent → running (reserved until its deadline) → done (with the answer)

Answers that invite a retry (429, 5xx) free the key. One that says where a job goes on does not: the
same call, sent again, is the same job. Nor is a 202 kept that the caller did not prefer: the same
call, sent again, waits for the same job.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shared import ids, object_keys, service_clock
from shared.errors import (
    Conflict,
    FieldError,
    IdempotencyKeyReused,
    InvalidRequest,
    ObjectMissing,
    PreconditionFailed,
)
from shared.ports import ObjectStore
from shared.types import Value

MAX_CHARS = 255
# Printable ASCII, in quotes or not: what the quotes of an RFC 8941 string enclose is the key. A
# blank at an end without quotes is no part of an HTTP header's value.
KEY_PATTERN = rf'^(?:[!#-~](?:[ -~]{{0,{MAX_CHARS - 2}}}[!-~])?|"[ -~]{{1,{MAX_CHARS}}}")$'
_FREED = 0.0  # `until` of a use that was given up: the next call with the key is a new one


class StoredAnswer(Value):
    """An HTTP answer to be given again."""

    status: int
    headers: dict[str, str]
    body: str  # base 64


class IdempotencyRecord(Value):
    """What a key was used for."""

    fingerprint: str
    job_id: str  # of the durable job it makes: a call taken over makes the same job, not another
    until: float  # seconds since 1970: end of the reservation, or of the memory
    answer: StoredAnswer | None = None


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The right to do the call, until `until`."""

    name: str
    etag: str
    use: IdempotencyRecord


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """The uses of keys by accounts. `clock` gives seconds since 1970."""

    store: ObjectStore
    keep_s: float
    clock: Callable[[], float] = service_clock.now

    def begin(
        self, account: str, key: str, payload: bytes, *, reserve_s: float
    ) -> Reservation | StoredAnswer:
        """Reserve the key, or find the answer that was given.

        Raises:
            InvalidRequest: The key does not have the form of `KEY_PATTERN`.
            IdempotencyKeyReused: The key was used with another payload.
            Conflict: The first call with the key still runs.
        """
        key = _unquoted(key.strip(" \t"))
        name = object_keys.idempotency(account, hashlib.sha256(key.encode()).hexdigest())
        fingerprint = hashlib.sha256(payload).hexdigest()
        now = self.clock()
        job_id = ids.job_id(int(now * 1000), ids.random_bits())
        use = IdempotencyRecord(fingerprint=fingerprint, job_id=job_id, until=now + reserve_s)
        try:
            etag = self.store.put(name, _bytes(use), if_absent=True)
        except PreconditionFailed:
            return self._again(name, use)
        return Reservation(name=name, etag=etag, use=use)

    def finish(self, held: Reservation, answer: StoredAnswer) -> None:
        """Remember the answer, or let go of the key if the answer invites a retry.

        Does nothing if the reservation ran out and the same call was taken over meanwhile.
        """
        changes: dict[str, object] = {"until": self.clock() + self.keep_s, "answer": answer}
        if answer.status == 429 or answer.status >= 500:
            changes = {"until": self.clock() if "Location" in answer.headers else _FREED}
        elif answer.status == 202 and "respond-async" not in answer.headers.get(
            "Preference-Applied", ""
        ):
            changes = {"until": self.clock()}
        use = held.use.model_copy(update=changes)
        with suppress(PreconditionFailed, ObjectMissing):
            self.store.put(held.name, _bytes(use), if_match=held.etag)

    def _again(self, name: str, use: IdempotencyRecord) -> Reservation | StoredAnswer:
        """The key was used before: replay, refuse, or take over a reservation that ran out."""
        try:
            stored = self.store.get(name)
        except ObjectMissing:
            raise _busy() from None  # freed this moment: the next try succeeds
        earlier = IdempotencyRecord.model_validate_json(stored.data)
        if earlier.until <= self.clock():
            ran_out = earlier.answer is None and earlier.until > _FREED
            if ran_out and earlier.fingerprint == use.fingerprint:
                use = use.model_copy(update={"job_id": earlier.job_id})
            try:
                etag = self.store.put(name, _bytes(use), if_match=stored.etag)
            except (PreconditionFailed, ObjectMissing):
                raise _busy() from None
            return Reservation(name=name, etag=etag, use=use)
        if earlier.fingerprint != use.fingerprint:
            raise _refusal(IdempotencyKeyReused, "was used with another request; choose a new key")
        if earlier.answer is None:
            raise _busy()
        return earlier.answer


def canonical(payload: bytes) -> bytes:
    """A body in which order and blanks of JSON make no difference; any other body as it is.

    >>> canonical(b'{"b": [1, 2],  "a": "x"}') == canonical(b'{"a":"x","b":[1,2]}')
    True
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return payload
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def pack(status: int, headers: dict[str, str], body: bytes) -> StoredAnswer:
    """An answer at rest."""
    return StoredAnswer(status=status, headers=headers, body=b64encode(body).decode())


def unpack(answer: StoredAnswer) -> bytes:
    """The body of an answer at rest."""
    return b64decode(answer.body)


def _unquoted(value: str) -> str:
    """The key in a header's value; raises InvalidRequest.

    >>> _unquoted('"order 4711"') == _unquoted("order 4711")
    True
    """
    if re.fullmatch(KEY_PATTERN, value):
        return value[1:-1] if value.startswith('"') else value
    if not value.isascii():
        raise _refusal(InvalidRequest, "must have ASCII characters only")
    if not value.isprintable():
        raise _refusal(InvalidRequest, "must have no control characters")
    if value.startswith('"') and (len(value) == 1 or not value.endswith('"')):
        raise _refusal(InvalidRequest, "has a quote at its beginning, but none at its end")
    raise _refusal(InvalidRequest, f"must have 1 to {MAX_CHARS} characters")


def _bytes(use: IdempotencyRecord) -> bytes:
    return use.model_dump_json().encode()


def _busy() -> Conflict:
    return Conflict("the first call with this Idempotency-Key is still running", retry_after_s=1)


def _refusal(error: type[InvalidRequest], message: str) -> InvalidRequest:
    return error(
        f"Idempotency-Key {message}",
        fields=(FieldError(field="Idempotency-Key", message=message),),
    )
