"""The stored rows of a part: JSON lines, with the fault of each invalid row."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shared.batches import BadRow


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


def dumps(rows: Iterable[PartRow]) -> bytes:
    """A line for each row."""
    return _encoder.encode_lines(rows)


def loads(data: bytes) -> list[PartRow]:
    """The rows, in order."""
    return _decoder.decode_lines(data)
