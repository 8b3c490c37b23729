"""Request lines: each line is a request with its own labels or classifier, in any dialect.

Lines with equal questions go through the model together. Each line is answered and charged as over
HTTP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from shared.batches import BadRow, BatchRequest
from shared.classifier_store import ClassifierStore
from shared.dialects.protocol import Dialect, own_fields
from shared.dialects.registry import pick
from shared.engine_resolution import content_of, with_engine
from shared.errors import PigeonholeError
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import encode
from shared.model_catalogue import Catalogue, ModelEntry
from shared.request_resolution import resolved
from shared.text_fallback import TextFallback
from shared.types import (
    ClassifyRequest,
    ClassifyResult,
    FailedItem,
    Failure,
    FileRead,
    Item,
    Usage,
)
from workers.handlers.batch.output_lines import answered_line, bad_line, not_held, refused_line
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.run_part import Lines
from workers.handlers.classify import ClassifyHandler
from workers.handlers.pending_classification import (
    MergedClassification,
    PartlyCachedClassification,
    PendingClassification,
    answered,
)
from workers.handlers.training_set import PART_LIMIT_S
from workers.leases import Lease


@dataclass(frozen=True, kw_only=True)
class RowRequest:
    """A line that can be worked on."""

    row: PartRow
    place: int  # among the rows
    dialect: Dialect
    request: ClassifyRequest


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Answers lines that are requests."""

    classify: ClassifyHandler
    records: ClassifierStore
    catalogue: Catalogue
    limits: Limits
    text_fallback: bool = True

    def work(
        self,
        job: Job,
        body: BatchRequest,  # noqa: ARG002  each line says for itself what it asks
        rows: Sequence[PartRow],
        hold: Lease,
    ) -> Lines:
        """The lines of requests, all at once; one that is refused is an error line.

        Raises:
            PigeonholeError: One cannot be worked on together with the others, or none can.
            CancelledError: The job was cancelled, or the lease lost.
        """
        groups: defaultdict[bytes, list[RowRequest]] = defaultdict(list)
        failed = Lines()
        for place, row in enumerate(rows):
            try:
                row_request = self._asked(job, row, place)
                if not self.classify.holds([self.catalogue.find(row_request.request.model)]):
                    raise not_held(row_request.request.model)
            except PigeonholeError as exc:
                if exc.outage:
                    raise
                line = refused_line(job, row, exc)
                failed.fail(row, line, exc.code.lower(), retryable=exc.retryable)
                continue
            question = row_request.request.model_copy(update={"items": (), "refused": ()})
            groups[encode(question)].append(row_request)
        begun = [(group, self._begun(job, group)) for group in groups.values()]

        def cancel() -> None:
            for _, pending in begun:
                pending.cancel()

        hold.on_end(cancel)
        told: dict[int, bytes] = {}
        usage = Usage()
        for group, pending in begun:
            for row_request, result in _shared_out(group, pending):
                try:
                    with own_fields(row_request.dialect.own_error):
                        answered(row_request.request, result)
                except PigeonholeError as exc:
                    line = refused_line(job, row_request.row, exc)
                    failed.fail(row_request.row, line, exc.code.lower(), retryable=exc.retryable)
                    continue
                rendered = row_request.dialect.render(row_request.request, result).body
                told[row_request.place] = answered_line(job, row_request.row, rendered)
                usage += result.usage
        output = [told[place] for place in sorted(told)]
        done = [rows[place].number for place in told]
        return failed.plus(Lines(output=output, usage=usage, done=done))

    def refuse(self, job: Job, row: PartRow, reason: BadRow) -> bytes:
        """The line of a request that was never made."""
        return bad_line(job, row, reason)

    def _asked(self, job: Job, row: PartRow, place: int) -> RowRequest:
        """What a line asks.

        Raises:
            PigeonholeError: What is wrong with it.
        """
        dialect, fields = pick(row.body(schema_checks="input"))
        with own_fields(dialect.own_error):
            request = self._resolved(job, dialect, fields)
        return RowRequest(row=row, place=place, dialect=dialect, request=request)

    def _resolved(self, job: Job, dialect: Dialect, fields: dict[str, object]) -> ClassifyRequest:
        """The request of a body, with all that it names."""
        parsed = dialect.parse(fields, default_model=self.catalogue.default_name)
        request = resolved(
            parsed,
            account=job.account,
            records=replace(self.records, accepted_at=job.created_at.timestamp()),
            catalogue=self.catalogue,
            limits=self.limits,
        )
        if parsed.classifier is None:
            request = self._with_fallback(request, named=parsed.model)
        request = with_engine(
            request,
            catalogue=self.catalogue,
            holds=self.classify.holds,
            content=content_of(request),
        )
        request = self.limits.check(request)
        model = self.catalogue.find(request.model).name
        return request.model_copy(update={"model": model})

    def _with_fallback(self, request: ClassifyRequest, *, named: str | None) -> ClassifyRequest:
        """As a call has it, from what this worker holds."""

        def held(model: ModelEntry) -> bool:
            return self.classify.holds([model])

        fallback = TextFallback(
            catalogue=self.catalogue,
            allowed=self.text_fallback,
            offered=held,
            absence=lambda model: None if held(model) else not_held(model.name).fields[0].message,
        )
        if request.errors == "per_item":
            request = fallback.images_aside(request, named=named)
        return fallback.for_texts(request) if content_of(request) == "texts" else request

    def _begun(
        self, job: Job, group: list[RowRequest]
    ) -> PendingClassification | MergedClassification | PartlyCachedClassification:
        """The items of a group together; one that is bad fails alone, and then its line may."""
        items: list[Item] = []
        aside: list[FailedItem] = []
        for row_request in group:
            aside += [_moved(each, -len(items)) for each in row_request.request.refused]
            items += row_request.request.items
        update = {"items": tuple(items), "refused": tuple(aside), "errors": "per_item"}
        together = group[0].request.model_copy(update=update)
        return self.classify.begin_uncached(together, job)


def _shared_out(
    group: list[RowRequest],
    pending: PendingClassification | MergedClassification | PartlyCachedClassification,
) -> Iterator[tuple[RowRequest, ClassifyResult]]:
    """What each request of a group would have been answered by itself."""
    result = pending.result(timeout_s=PART_LIMIT_S)
    windowed = frozenset(result.windowed)
    unsupported = frozenset(result.unsupported)
    files = {file.index: file for file in result.files}
    failed = {each.index: each for each in result.failed}
    cached = frozenset(() if result.cache is None else result.cache.hits)
    tokens, visual = result.item_tokens, result.visual_tokens
    first = 0
    for row_request in group:
        last = first + len(row_request.request.items)
        here = range(first, last)
        usage = Usage(
            input_tokens=sum(tokens[first:last]),
            label_tokens=_label_tokens(result, [i for i in here if i not in cached]),
            visual_tokens=sum(visual[first:last]),
        )
        yield (
            row_request,
            ClassifyResult(
                answers=result.answers[first:last],
                usage=usage,
                windowed=tuple(i - first for i in here if i in windowed),
                labels=result.labels,
                files=tuple(_moved(files[i], first) for i in here if i in files),
                failed=tuple(_moved(failed[i], first) for i in here if i in failed),
                item_models=result.item_models[first:last],
                unsupported=tuple(i - first for i in here if i in unsupported),
                cache=result.cache
                and result.cache.model_copy(
                    update={"hits": tuple(i - first for i in here if i in cached)}
                ),
            ),
        )
        first = last


def _label_tokens(result: ClassifyResult, computed: Sequence[int]) -> int:
    """What the labels of a request cost: once for each model that has answered one of its items."""
    answered_items = [index for index in computed if result.answers[index]]
    if not result.label_tokens:
        return result.usage.label_tokens if answered_items else 0
    models = {result.item_models[index] for index in answered_items}
    return sum(result.label_tokens[model] for model in models)


_Moved = TypeVar("_Moved", FileRead, FailedItem)


def _moved(indexed: _Moved, first: int) -> _Moved:
    """The same of a request whose items begin at `first` of the group, or -`first` places in it."""
    index = indexed.index - first
    if isinstance(indexed, FailedItem):
        failure = _renumbered(indexed.failure, indexed.index, index)
        return indexed.model_copy(update={"index": index, "failure": failure})
    return indexed.model_copy(update={"index": index})


def _renumbered(failure: Failure, index: int, other: int) -> Failure:
    """A failure of the item `index`, whose message and fields name the item `other` instead."""
    before, after = f"input[{index}]", f"input[{other}]"
    fields = tuple((f.replace(before, after), *rest) for f, *rest in failure.fields)
    return failure.model_copy(
        update={"detail": failure.detail.replace(before, after), "fields": fields}
    )
