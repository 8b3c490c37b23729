"""classify: any number of inputs, in requests of a size that the service takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pigeonhole_client import _http, frames
from pigeonhole_client._async.transport import AsyncTransport
from pigeonhole_client._http import ApiCall
from pigeonhole_client._requests import CallOptions, Item, Labels, items, question
from pigeonhole_client.errors import ApiError, BadRequest
from pigeonhole_client.frames import Frame
from pigeonhole_client.types import Classification, Classifications, Usage

# Small requests answer soon, and several of them keep the workers busy.
_MAX_INPUTS = 256
_MAX_BYTES = 8 * 2**20
_AT_ONCE = 4


async def classify(
    transport: AsyncTransport,
    inputs: Item | Iterable[Item],
    labels: Labels | None,
    classifier: str | None,
    options: CallOptions,
) -> Classifications:
    """One entry for each input, in their order, whatever requests they went in."""
    asked = question(labels, classifier, options, known=CallOptions)
    chunks = _http.chunks(items(inputs), max_items=_MAX_INPUTS, max_bytes=_MAX_BYTES)
    offset = 0
    placed: list[tuple[int, list[Any]]] = []
    for chunk in chunks:
        placed.append((offset, chunk))
        offset += len(chunk)

    async def one(part: tuple[int, list[Any]]) -> list[Classifications]:
        return await _chunk(transport, asked, *part)

    answers = await transport.runtime.map(one, placed or [(0, [])], at_once=_AT_ONCE)
    return _joined([answer for each in answers for answer in each])


async def classify_frame(
    transport: AsyncTransport,
    frame: Frame,
    labels: Labels | None,
    classifier: str | None,
    text_column: str,
    options: CallOptions,
) -> Frame:
    """The frame with the columns `prediction` and `score`; None where there is no text."""
    cells = frames.column(frame, text_column)
    texts = [(row, str(cell)) for row, cell in enumerate(cells) if cell is not None]
    texts = [(row, text) for row, text in texts if text.strip()]
    predictions: list[Any] = [None] * len(cells)
    scores: list[Any] = [None] * len(cells)
    if texts:
        sent = [text for _, text in texts]
        answer = await classify(transport, sent, labels, classifier, options)
        for (row, _), entry in zip(texts, answer.data, strict=True):
            predictions[row], scores[row] = entry.prediction, entry.score
    return frames.with_columns(frame, {"prediction": predictions, "score": scores})


async def _chunk(
    transport: AsyncTransport, asked: dict[str, Any], offset: int, inputs: list[Any]
) -> list[Classifications]:
    """The answers for the inputs from `offset` on; in smaller requests where the service says so.

    There is no Idempotency-Key: a classification changes nothing, and the key would cost two writes
    on the object store of the service for each request.
    """
    call = ApiCall(
        method="POST",
        path="/v1/classify",
        body={"input": inputs, **asked},
        waits_out_timeouts=len(inputs) < 2,
    )
    try:
        return [_http.decoded(Classifications, await transport.send(call))]
    except ApiError as exc:
        count = _http.smaller(exc, len(inputs))
        if count is None:
            raise _http.shifted(exc, offset) if isinstance(exc, BadRequest) else exc from exc
    answers: list[Classifications] = []
    for start in range(0, len(inputs), count):
        piece = inputs[start : start + count]
        answers += await _chunk(transport, asked, offset + start, piece)
    return answers


def _joined(answers: list[Classifications]) -> Classifications:
    entries: list[Classification] = []
    for answer in answers:
        entries += answer.data
    return Classifications(
        data=[msgspec.structs.replace(each, index=index) for index, each in enumerate(entries)],
        usage=Usage(
            total_tokens=sum(each.usage.total_tokens for each in answers),
            prompt_tokens=sum(each.usage.prompt_tokens for each in answers),
        ),
        warnings=answers[0].warnings if answers else [],  # of the labels, the same for all inputs
    )
