"""The stored rows of a part: JSON lines, with the fault of each invalid row."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from shared.batches import BadRow
from shared.validation import refuse_lone_surrogates


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of the file: good, or `bad`; of a bad one `data` is what could be read, if anything.

    `id` is None where it has none of its own, `line` 0 where it is not known any more. Where
    several objects are read, `object_key` is the key of the one that the row is in, and `place` its
    key below the prefix and the line in it: ids are unique in an object, not over all of them.
    """

    line: int
    id: str | None
    data: dict[str, object] | None = None
    bad: tuple[str, str, str | None] | None = None  # code, message, param
    number: int = 0  # in the file, from 0
    place: str = ""
    object_key: str = ""
    escaped: str = ""  # `data` as JSON in ASCII, where it has half of a surrogate pair

    def body(self, *, schema_checks: str | None = None) -> dict[str, object]:
        """The body of a line that is a request, as valid as the body of a call.

        Args:
            schema_checks: as for `refuse_lone_surrogates`.

        Raises:
            InvalidRequest: It has half of a surrogate pair.
        """
        data = self.data or {}
        if not encodable(data):
            refuse_lone_surrogates(data, schema_checks=schema_checks)
        return data

    def reason(self) -> BadRow | None:
        """Why nothing can be done with it."""
        return None if self.bad is None else self.refused(*self.bad)

    @property
    def origin(self) -> dict[str, str]:
        """Which object the row is in, as a field of a line of a result."""
        return {"object_key": self.object_key} if self.object_key else {}

    def refused(
        self, code: str, message: str, param: str | None = None, *, retryable: bool = False
    ) -> BadRow:
        """Why it does not come out; where several objects are read, with the one that it is in."""
        told = f"{self.place}: {message}" if self.place else message
        return BadRow(line=self.line, code=code, message=told, param=param, retryable=retryable)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PartRow)


def encodable(value: object) -> bool:
    r"""Whether a JSON value can be written as UTF-8: no text has half of a surrogate pair.

    >>> encodable(["\u20ac"]), encodable(["\ud800"])
    (True, False)
    """
    try:
        _encoder.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def dumps(rows: Iterable[PartRow]) -> bytes:
    """A line for each row."""
    return b"".join(map(_line, rows))


def _line(row: PartRow) -> bytes:
    try:
        line = _encoder.encode(row)
    except UnicodeEncodeError:
        line = _encoder.encode(replace(row, data=None, escaped=json.dumps(row.data)))
    return line + b"\n"


def loads(data: bytes) -> list[PartRow]:
    """The rows, in order."""
    return [
        replace(row, data=json.loads(row.escaped)) if row.escaped else row
        for row in _decoder.decode_lines(data)
    ]
