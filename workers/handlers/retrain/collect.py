"""The first phase of a run: the new rows of all sources, each read once.

Decides: which rows are new, duplicate, conflicting, bad or held out. A source is consumed as a
whole: an object by its ETag, a file by its id, an item of feedback by its id. Does not decide: when
what was consumed counts, which is when the run ends (`snapshot`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shared import object_keys, retraining_keys
from shared.batches import StoredFile
from shared.closed_labels import unknown
from shared.errors import InvalidRequest, ObjectMissing, PigeonholeError, PreconditionFailed
from shared.feedback_store import FeedbackStore
from shared.messages import decode, encode
from shared.normal_form import LabelSpellings, is_empty
from shared.ports import Buckets, ObjectStore
from shared.request_resolution import examples_for
from shared.retraining import BadExample, RetrainingSettings, Run, RunCounts, Source
from shared.types import Example, ExampleFile, Value
from workers.classifier_file import TrainedClassifier
from workers.core.holdout import content_digest, is_held_out, key_digest, row_digest
from workers.handlers.example_files import ExampleFiles
from workers.handlers.retrain.label_names import LabelNames
from workers.handlers.retrain.snapshot import NewRow, RejectedRow, Snapshot
from workers.inputs.tables.table_objects import table_objects

MAX_ROWS = 100_000  # of a run: sources beyond are read by the next one
MAX_BAD_SHARE = 0.1
_MAX_SHOWN = 100  # bad rows that the record of a run lists
_EXPECTED = 5


class Collected(Value):
    """What a run works on; stored before it learns, so that a second attempt learns the same.

    `base` is the run whose snapshot was read. `consumed`: digests of sources and rows, in hex.
    `live`: rows that the champion has learnt in its last run, for the case of a rollback.
    """

    champion: int
    base: str | None
    new: tuple[NewRow, ...] = ()
    held_out: tuple[NewRow, ...] = ()
    fixed_holdout: tuple[NewRow, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    live: tuple[RejectedRow, ...] = ()
    set_aside: tuple[NewRow, ...] = ()
    consumed: tuple[str, ...] = ()
    counts: RunCounts = RunCounts()
    bad_rows: tuple[BadExample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Reads the sources of one classifier."""

    store: ObjectStore
    buckets: Buckets
    files: ExampleFiles
    account: str
    classifier_id: str
    settings: RetrainingSettings
    model: str
    labels: tuple[str, ...]
    closed_labels: bool
    check: Callable[[], object]
    names: LabelNames

    def collect(self, snapshot: Snapshot, *, base: str | None, champion: int) -> Collected:
        """The rows of all sources that were not consumed.

        Raises:
            InvalidRequest: More than a tenth of the rows is bad, or a source cannot be read.
            Unavailable: The store or a bucket is away.
        """
        fixed = self._fixed_holdout()
        sorting = _Sorting(
            share=self.settings.holdout.share or 0.0,
            snapshot=snapshot,
            holdout={row.digest for row in (*snapshot.holdout, *fixed)},
            spellings=LabelSpellings(self.labels),
        )
        for source in self.settings.sources:
            if sorting.read >= MAX_ROWS:
                break
            self._read(source, sorting)
        _check_bad(sorting.bad, sorting.read)
        found = sorting.collected(champion=champion, base=base, fixed=fixed)
        new, held_out = map(self.names.stamped, (found.new, found.held_out))
        return found.model_copy(update={"new": new, "held_out": held_out})

    def _read(self, source: Source, sorting: _Sorting) -> None:
        if source.feedback:
            for item in FeedbackStore(store=self.store).items(self.account, self.classifier_id):
                example = self.names.of_feedback(item)
                if example is not None and sorting.consume("feedback", item.id):
                    self._sort(f"feedback {item.id}", example, sorting)
        elif source.file_id:
            if sorting.consume("file", source.file_id):
                self._read_file(source.file_id, self._stored(source.file_id), sorting)
        else:
            for url, etag in self._objects(source.url):
                if sorting.read >= MAX_ROWS:
                    return
                if sorting.consume("object", url, etag):
                    file = self._file(url=url, etag=etag, filename=url.rpartition("/")[2])
                    self._read_file(url, file, sorting)

    def _objects(self, url: str) -> Iterator[tuple[str, str]]:
        """URLs and ETags of the objects of a source."""
        if url.endswith("/"):
            yield from ((each.url, each.etag) for each in table_objects(self.buckets, url))
        else:
            found = self.buckets.find(url)
            yield found.url, found.etag

    def _read_file(self, name: str, file: ExampleFile, sorting: _Sorting) -> None:
        try:
            for row in self.files.rows(file, self.check, id_column=self.settings.columns.id):
                place = f"{name} {row.place.removeprefix('file ')}" + (row.id and f" ({row.id})")
                if row.example is None:
                    sorting.refuse(place, "; ".join(fault.message for fault in row.faults))
                else:
                    self._sort(place, row.example, sorting)
        except InvalidRequest as exc:
            raise InvalidRequest(f"sources: {name}: {exc.detail}") from exc

    def _sort(self, place: str, example: Example, sorting: _Sorting) -> None:
        """Count one row, as new where it can be learnt."""
        label = example.label or ""
        if is_empty(label):
            sorting.refuse(place, "has no label")
            return
        if self.closed_labels and LabelSpellings(self.labels).get(label) is None:
            sorting.refuse(place, unknown(label, self.labels))
            return
        try:
            self.files.check_example(example, place)
            (example,) = examples_for(
                [example],
                model=self.model,
                account=self.account,
                catalogue=self.files.catalogue,
                store=self.store,
            )
        except PigeonholeError as exc:
            if exc.outage:
                raise
            sorting.refuse(place, exc.detail)
            return
        sorting.add(place, example)

    def _fixed_holdout(self) -> tuple[NewRow, ...]:
        """The examples of a holdout that is a file; they are judged by and never learnt."""
        holdout = self.settings.holdout
        if holdout.file_id:
            file = self._stored(holdout.file_id)
        elif holdout.url:
            etag = self.buckets.find(holdout.url).etag
            file = self._file(url=holdout.url, etag=etag)
        else:
            return ()
        examples = self.files.read(file, self.check).examples
        digests = [content_digest(example.item).hex() for example in examples]
        return tuple(
            NewRow(example=example, place=f"holdout {index + 1}", digest=digest)
            for index, (example, digest) in enumerate(zip(examples, digests, strict=True))
        )

    def _stored(self, file_id: str) -> ExampleFile:
        try:
            record = self.store.get(object_keys.file(self.account, file_id)).data
        except ObjectMissing:
            raise InvalidRequest(f"sources: the file {file_id} was deleted") from None
        return self._file(
            object=object_keys.file_content(self.account, file_id),
            filename=decode(StoredFile, record).filename,
        )

    def _file(self, **place: str) -> ExampleFile:
        columns = self.settings.columns
        return ExampleFile(text_column=columns.text, label_column=columns.label, kept=True, **place)


def collected_before(store: ObjectStore, run: Run) -> Collected | None:
    """What an attempt of a run has collected; None if none has come so far."""
    try:
        return decode(Collected, store.get(_name(run)).data)
    except ObjectMissing:
        return None


def put_collected(store: ObjectStore, run: Run, collected: Collected) -> Collected:
    """Store what a run works on; what it works on then: the first attempt decides."""
    try:
        store.put(_name(run), encode(collected), if_absent=True)
    except PreconditionFailed:
        return decode(Collected, store.get(_name(run)).data)
    return collected


def _name(run: Run) -> str:
    return retraining_keys.run_file(run.account, run.classifier_id, run.id, "collected.json")


def readable(collected: Collected, unreadable: Mapping[str, str]) -> Collected:
    """What was collected without rows that cannot be embedded, by digest with the reason.

    Raises:
        InvalidRequest: More than a tenth of the rows is bad.
    """
    if not unreadable:
        return collected
    rows = (*collected.new, *collected.held_out)
    bad = [
        BadExample(place=row.place, message=unreadable[row.digest])
        for row in rows
        if row.digest in unreadable
    ]
    counts = collected.counts
    _check_bad([*collected.bad_rows, *bad], counts.read)
    new = tuple(row for row in collected.new if row.digest not in unreadable)
    held_out = tuple(row for row in collected.held_out if row.digest not in unreadable)
    lost = len(collected.held_out) - len(held_out)
    return collected.model_copy(
        update={
            "new": new,
            "held_out": held_out,
            "bad_rows": (*collected.bad_rows, *bad)[:_MAX_SHOWN],
            "counts": counts.model_copy(
                update={
                    "new": len(new),
                    "held_out": len(held_out),
                    "holdout": counts.holdout - (0 if collected.fixed_holdout else lost),
                    "bad": counts.bad + len(bad),
                }
            ),
        }
    )


def missing_labels(champion: TrainedClassifier, rows: Sequence[NewRow]) -> tuple[str, ...]:
    """Labels of which a night as large as this one should bring several examples, and brings none.

    At least `_EXPECTED` are expected by the label's share of what the champion has learnt; by
    chance, none come in one night of 150.
    """
    seen = {row.example.label for row in rows}
    total = max(sum(champion.counts), 1)
    return tuple(
        label
        for label, count in zip(champion.labels, champion.counts, strict=True)
        if label not in seen and count * len(rows) >= _EXPECTED * total
    )


def _check_bad(bad: Sequence[BadExample], read: int) -> None:
    if len(bad) > MAX_BAD_SHARE * read:
        raise InvalidRequest(
            f"sources: {len(bad)} of {read} rows are bad, more than a tenth; first "
            f"{bad[0].place}: {bad[0].message}"
        )


@dataclass(kw_only=True)
class _Sorting:
    """The rows of one run as they are sorted."""

    share: float
    snapshot: Snapshot
    holdout: set[str]
    spellings: LabelSpellings
    read: int = 0
    duplicate: int = 0
    conflicting: int = 0
    bad: list[BadExample] = field(default_factory=list)
    consumed: set[bytes] = field(default_factory=set)
    rows: dict[str, NewRow | None] = field(default_factory=dict)  # by content; None: conflicting

    def consume(self, *words: str) -> bool:
        """Whether a source is new; from now on it is consumed."""
        key = key_digest(*words)
        fresh = key not in self.snapshot.consumed and key not in self.consumed
        self.consumed.add(key)
        return fresh

    def refuse(self, place: str, message: str) -> None:
        """Count a bad row."""
        self.read += 1
        self.bad.append(BadExample(place=place, message=message))

    def add(self, place: str, example: Example) -> None:
        """Count a good row."""
        self.read += 1
        content = content_digest(example.item)
        label = self.spellings.add(example.label or "")
        digest = content.hex()
        key = row_digest(content, label)
        if key in self.snapshot.consumed or digest in self.holdout:
            self.duplicate += 1
        elif digest not in self.rows:
            row = example.model_copy(update={"label": label})
            self.rows[digest] = NewRow(example=row, place=place, digest=digest)
        elif (seen := self.rows[digest]) is not None and seen.example.label == label:
            self.duplicate += 1
        else:
            self.conflicting += 2 if seen is not None else 1
            self.rows[digest] = None  # which label is right is not guessed

    def collected(self, *, champion: int, base: str | None, fixed: tuple[NewRow, ...]) -> Collected:
        """The sorted rows."""
        good = [row for row in self.rows.values() if row is not None]
        held_out = [row for row in good if is_held_out(bytes.fromhex(row.digest), self.share)]
        new = [row for row in good if not is_held_out(bytes.fromhex(row.digest), self.share)]
        keys = {
            row_digest(bytes.fromhex(row.digest), row.example.label or "") for row in good
        } | self.consumed
        holdout = len(fixed) or len(self.snapshot.holdout) + len(held_out)
        return Collected(
            champion=champion,
            base=base,
            new=tuple(new),
            held_out=tuple(held_out),
            fixed_holdout=fixed,
            consumed=tuple(sorted(key.hex() for key in keys)),
            counts=RunCounts(
                read=self.read,
                new=len(new),
                duplicate=self.duplicate,
                conflicting=self.conflicting,
                bad=len(self.bad),
                held_out=len(held_out),
                holdout=holdout,
            ),
            bad_rows=tuple(self.bad[:_MAX_SHOWN]),
        )
