"""The rows of a part on the store: lines of JSON, the bad ones among them with their reason."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shared.batches import BadRow


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of the file. `data` is None where it is `bad`."""

    line: int
    id: str
    data: dict[str, object] | None = None
    bad: tuple[str, str, str | None] | None = None  # code, message, param
    number: int = 0  # in the file, from 0

    def reason(self) -> BadRow | None:
        """Why nothing can be done with it."""
        if self.bad is None:
            return None
        code, message, param = self.bad
        return BadRow(line=self.line, code=code, message=message, param=param)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PartRow)


def dumps(rows: Iterable[PartRow]) -> bytes:
    """A line for each row."""
    return _encoder.encode_lines(rows)


def loads(data: bytes) -> list[PartRow]:
    """The rows, in order."""
    return _decoder.decode_lines(data)
