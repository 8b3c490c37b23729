"""Validation of request lines before a batch runs, without the model and the store.

Faults that only these can find appear when the line runs: too many tokens, an unknown classifier.
An invalid line runs like every other: it is refused there, with the status that HTTP would give.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shared.batches import TRAIN, BadRow, BatchRequest
from shared.dialects import training
from shared.dialects.protocol import own_fields
from shared.dialects.registry import pick
from shared.errors import PigeonholeError
from shared.limits import Limits
from shared.normal_form import is_empty
from shared.types import Question, TrainRequest
from workers.handlers.batch.part_rows import PartRow, encodable

_ANY = (Question(labels=("a", "b")),)  # stands for what a classifier has learnt
_MAX_KNOWN = 4096

_encode = msgspec.json.Encoder().encode


class RequestValidator:
    """Judges the bodies of a batch's lines; those that differ only in a text are parsed once."""

    def __init__(self, body: BatchRequest, limits: Limits) -> None:
        self._limits = limits
        self._model = body.model
        self._check: Callable[[PartRow], None] = (
            self._check_lesson if body.endpoint == TRAIN else self._check_request
        )
        # The length of the longest text that was good, by all else that was asked of it.
        self._good: dict[bytes, int] = {}

    def fault(self, row: PartRow) -> BadRow | None:
        """Why a line will be refused, if that can be told."""
        data = row.data or {}
        text = data.get("input")
        plain = isinstance(text, str) and not is_empty(text) and encodable(data)
        parsed = _encode({**data, "input": None}) if plain else b""
        if plain and len(str(text)) <= self._good.get(parsed, 0):
            return None
        try:
            self._check(row)
        except PigeonholeError as exc:
            param = exc.fields[0].field if exc.fields else None
            return row.refused(exc.code.lower(), exc.detail, param)
        if plain:
            if len(self._good) >= _MAX_KNOWN:
                self._good.clear()
            self._good[parsed] = len(str(text))
        return None

    def _check_request(self, row: PartRow) -> None:
        dialect, parsed = pick(row.body(schema_checks="input"))
        with own_fields(dialect.own_error):
            found = dialect.parse(parsed, default_model=self._model)
            request = found.request
            if found.classifier is not None:
                request = request.model_copy(update={"questions": _ANY})
            self._limits.check(request)

    def _check_lesson(self, row: PartRow) -> None:
        parsed = training.parse(row.body())
        request = TrainRequest(
            model=parsed.model or self._model,
            classifier_id=parsed.classifier or "",
            create=parsed.create,
            num_iters=parsed.num_iters,
            examples=parsed.examples,
        )
        self._limits.check_training(request, place=parsed.place)
