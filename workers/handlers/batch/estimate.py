"""The cost estimate of a batch: tokens are counted in an even sample of its rows, or in all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shared.batches import TRAIN, BatchRequest
from shared.dialects import training
from shared.dialects.registry import pick
from shared.errors import PigeonholeError
from shared.limits import Limits
from shared.types import ClassifyRequest, Item
from workers.embedding.labels import charged_texts
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.part_sizes import parts_of, rows_per_part
from workers.handlers.batch.validate_input import InputReport

_MAX_SAMPLED = 4096


@dataclass(frozen=True)
class SampledRow:
    """A sampled row: its tokens, None if it would not come out; and its bytes."""

    tokens: int | None
    size: int


@dataclass(kw_only=True)
class Sample:
    """Every row of a file; of a longer one every second, fourth, and so on."""

    tokens_of: Callable[[PartRow], int | None]
    rows: list[SampledRow] = field(default_factory=list)
    _stride: int = 1
    _met: int = 0

    def see(self, row: PartRow, size: int, good: bool) -> None:
        """Take a row into the sample, if it is its turn."""
        if self._met % self._stride == 0:
            self.rows.append(SampledRow(self.tokens_of(row) if good else None, size))
            if len(self.rows) > _MAX_SAMPLED:
                self.rows = self.rows[::2]
                self._stride *= 2
        self._met += 1

    @property
    def whole(self) -> bool:
        """Whether every row is in it."""
        return self._stride == 1

    def tokens(self, size: int) -> int:
        """Tokens of all rows, which have so many bytes together."""
        counted = sum(seen.tokens or 0 for seen in self.rows)
        if self.whole:
            return counted
        return round(counted * size / max(1, sum(seen.size for seen in self.rows)))


@dataclass(kw_only=True)
class TokenCounter:
    """Counts what rows cost.

    Images and documents are not looked at: they count nothing, and `unread` says so.
    """

    models: Mapping[str, LoadedModel]
    default: LoadedModel
    limits: Limits
    unread: bool = False
    _labels: dict[object, int] = field(default_factory=dict)

    def of_row(self, body: BatchRequest, row: PartRow) -> int | None:
        """Tokens of a row, without what its part costs; None if it would not come out."""
        data = row.data or {}
        if body.rows is not None:
            if body.rows.image_column is not None or body.rows.file_column is not None:
                self.unread = True
                return 0
            return self._texts(self.default, [Item(text=str(data[body.rows.column]))])
        if body.endpoint == TRAIN:
            return self._of_lesson(data)
        try:
            dialect, fields = pick(data)
            parsed = dialect.parse(fields, default_model=self.default.entry.name)
            request = parsed.request
            if parsed.classifier is None:
                request = self.limits.check(request)
        except PigeonholeError:
            return None
        model = self.models.get(request.model, self.default)
        texts = self._texts(model, request.items, per_item=request.errors == "per_item")
        return None if texts is None else texts + self.of_labels(model, request)

    def _of_lesson(self, data: dict[str, object]) -> int | None:
        try:
            parsed = training.parse(data)
        except PigeonholeError:
            return None
        texts = [self._texts(self.default, [example.item]) for example in parsed.examples]
        if None in texts:
            return None
        iters = [example.num_iters or parsed.num_iters for example in parsed.examples]
        return sum((text or 0) * times for text, times in zip(texts, iters, strict=True))

    def of_labels(self, model: LoadedModel, request: ClassifyRequest) -> int:
        """Tokens of the labels of a request, of their descriptions and examples."""
        texts = tuple(text for q in request.questions for text in charged_texts(request, q))
        key = (model.entry.name, texts)
        if key not in self._labels:
            if len(self._labels) >= _MAX_SAMPLED:
                self._labels.clear()
            self._labels[key] = sum(map(len, model.tokenizer.tokenise(texts)))
        return self._labels[key]

    def _texts(
        self, model: LoadedModel, items: Iterable[Item], *, per_item: bool = False
    ) -> int | None:
        items = tuple(items)
        self.unread = self.unread or any(item.media for item in items)
        counts = [len(ids) for ids in model.tokenizer.tokenise([item.text for item in items])]
        good = [count for count in counts if count <= self.limits.max_input_tokens]
        return sum(good) if per_item or len(good) == len(counts) else None


def label_runs(sample: Sample, *, total: int, rows_per_part: int) -> int:
    """How often the labels of a question for all rows are charged: once for each part with a row
    that comes out.
    """
    if not sample.whole:
        return -(-total // rows_per_part)
    parts = parts_of([seen.size for seen in sample.rows], rows_per_part)
    return sum(any(seen.tokens is not None for seen in sample.rows[a:b]) for a, b in parts)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The tokens of a batch, estimated while its file is read."""

    body: BatchRequest
    count: TokenCounter
    sample: Sample

    @classmethod
    def of(
        cls,
        body: BatchRequest,
        model: LoadedModel,
        *,
        models: Mapping[str, LoadedModel],
        limits: Limits,
    ) -> Forecast:
        """Of a batch whose rows are for `model`; `models` are those that its lines may name."""
        count = TokenCounter(models=models, default=model, limits=limits)
        sample = Sample(tokens_of=lambda row: count.of_row(body, row))
        return cls(body=body, count=count, sample=sample)

    def tokens(self, judged: InputReport) -> int:
        """Tokens of all rows, once the file was read to its end."""
        tokens = self.sample.tokens(judged.size)
        if self.body.rows is None:
            return tokens
        per_part = rows_per_part(judged, self.body)
        runs = label_runs(self.sample, total=judged.total, rows_per_part=per_part)
        return tokens + runs * self.count.of_labels(self.count.default, self.body.rows.ask)

    @property
    def exact(self) -> bool:
        """Whether every row was counted."""
        return self.sample.whole and not self.count.unread
