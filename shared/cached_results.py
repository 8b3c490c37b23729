"""Entries of the result cache for a classify request: keys without content, answers as numbers.

A key is a keyed hash (BLAKE2b, 16 bytes) of everything that determines the answer to an item:
account, model revision, every field of the request except those in `_IRRELEVANT`, and the item. The
secret prevents a reader of Redis from testing which texts and labels were sent. An entry is an
array of numbers in MessagePack; labels are indices into those of the request.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec

from shared.types import (
    Answer,
    CacheLookup,
    ClassifyRequest,
    ClassifyResult,
    FileBy,
    FileRead,
    Item,
    LabelsAlike,
    Question,
    Usage,
)

_FORMAT = 1  # of entries; part of every key
_IRRELEVANT = {"items", "errors", "refused", "cache", "cached"}  # to the answer of a valid item
_KINDS = ("pdf", "docx", "text")
_BY: tuple[FileBy, ...] = get_args(FileBy)
_UNIT = 1_000_000
"""Scores are integers of this fraction: workers round them to 6 decimals, and an integer takes
half of the bytes of a float."""

Questions = Sequence[Question]
_Number = int | None
_Answer = tuple[_Number, list[_Number], _Number, _Number, bool]


class _CachedFile(msgspec.Struct, array_like=True):
    """A `FileRead`, with the answers of its pages."""

    kind: int
    by: int
    total_pages: int
    pages: int
    scanned: bool
    answers: list[list[_Answer]]


class _CachedAnswer(msgspec.Struct, array_like=True):
    """The answers of one item, and the pairs (question, label, label, cosine) that are alike."""

    answers: list[_Answer]
    windowed: bool
    alike: list[tuple[int, int, int, int]]
    file: _CachedFile | None
    model: str = ""  # of `auto`
    supported: bool = True
    job: int = 0  # a checksum of the id of the job that wrote it


@dataclass(frozen=True, kw_only=True)
class CachedItem:
    """What a result says of one item; `file` has the index 0."""

    answers: tuple[Answer, ...]
    windowed: bool
    alike: tuple[LabelsAlike, ...]
    file: FileRead | None
    model: str = ""
    supported: bool = True


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_CachedAnswer).decode


def keys_of(
    request: ClassifyRequest, *, secret: bytes, account: str, revision: str
) -> dict[int, bytes]:
    """The keys of the items that can be cached, by index.

    Items of a URL cannot, for its content may change; items that were refused, or are answered
    already, need not.
    """
    fields = request.model_dump_json(exclude=_IRRELEVANT)
    about = json.dumps([_FORMAT, account, revision, fields]).encode()
    start = hashlib.blake2b(about, key=secret, digest_size=16)
    skipped = skipped_items(request)
    keys = {}
    shared = () if request.shared_media is None else request.shared_media.media
    for index, item in enumerate(request.items):
        if index not in skipped and not any(media.url for media in (*item.media, *shared)):
            digest = start.copy()
            digest.update(b"\n" + item.model_dump_json().encode())
            keys[index] = digest.digest()
    return keys


def lookup_of(keys: Mapping[int, bytes], ages_s: Mapping[int, float]) -> CacheLookup:
    """The report of a lookup of items with these keys, of which some were found, by their ages.

    Its key is that of the item, or a hash of those of several.
    """
    several = hashlib.blake2b(b"".join(keys.values()), digest_size=16).digest()
    key = next(iter(keys.values())) if len(keys) == 1 else several
    oldest_s = int(max(ages_s.values(), default=0.0))
    return CacheLookup(key=key.hex()[:16], hits=tuple(sorted(ages_s)), age_s=oldest_s)


def skipped_items(request: ClassifyRequest) -> frozenset[int]:
    """The indexes of the items that no model sees: those that are cached, or were refused."""
    return frozenset(request.cached).union(each.index for each in request.refused)


def without(request: ClassifyRequest, cached: Collection[int]) -> ClassifyRequest:
    """The request for the items that are not cached."""
    items = tuple(Item() if i in cached else item for i, item in enumerate(request.items))
    return request.model_copy(update={"items": items, "cached": tuple(sorted(cached))})


def encoded(
    result: ClassifyResult, index: int, questions: Questions, *, job: str = ""
) -> bytes | None:
    """The entry of one item, written by a job or, without its id, by a synchronous call.

    None if the item failed, or is of a kind that entries do not know.
    """
    if not result.answers[index]:
        return None
    file = next((each for each in result.files if each.index == index), None)
    if file is not None and file.kind not in _KINDS:
        return None
    entry = _CachedAnswer(
        answers=list(map(_answer_out, result.answers[index])),
        windowed=index in result.windowed,
        alike=[_alike_out(each, questions) for each in result.alike],
        file=None if file is None else _file_out(file),
        model=result.item_models[index] if result.item_models else "",
        supported=index not in result.unsupported,
        job=_checksum(job),
    )
    return _encode(entry)


def decoded(data: bytes, questions: Questions, *, job: str = "") -> CachedItem | None:
    """What an entry says; None if it is not of these questions, or the job itself wrote it.

    A part of a job that runs again, because its worker died, would find its own answers, and the
    job would not be charged for them.
    """
    try:
        entry = _decode(data)
        if job and entry.job == _checksum(job):
            return None
        if [len(scores) for _, scores, *_ in entry.answers] != [len(q.labels) for q in questions]:
            return None
        return CachedItem(
            answers=tuple(map(_answer_in, entry.answers)),
            windowed=entry.windowed,
            alike=tuple(_alike_in(each, questions) for each in entry.alike),
            file=None if entry.file is None else _file_in(entry.file),
            model=entry.model,
            supported=entry.supported,
        )
    except (msgspec.DecodeError, IndexError):
        return None


def merged(
    request: ClassifyRequest,
    computed: ClassifyResult | None,
    cached: Mapping[int, CachedItem],
    *,
    labels: tuple[str, ...] | None,
) -> ClassifyResult:
    """The result of the whole request; its usage is that of the computed items.

    Args:
        request: all items.
        computed: the result of the items that were not cached; None if all were.
        cached: the other items, by index.
        labels: those of the classifier, if the request names one.
    """
    if computed is None:
        alike = next(iter(cached.values())).alike
        computed = ClassifyResult(
            answers=((),) * len(request.items),
            usage=Usage(),
            labels=labels,
            alike=alike,
            item_tokens=(0,) * len(request.items),
        )
    answers = (
        cached[index].answers if index in cached else each
        for index, each in enumerate(computed.answers)
    )
    windowed = {index for index, each in cached.items() if each.windowed}
    files = {index: each.file for index, each in cached.items() if each.file is not None}
    models: tuple[str, ...] = ()
    if request.multilingual_model is not None:
        by_worker = computed.item_models or ("",) * len(request.items)
        known = {index: each.model for index, each in cached.items()}
        models = tuple(known.get(index, model) for index, model in enumerate(by_worker))
    unsupported = {index for index, each in cached.items() if not each.supported}
    return computed.model_copy(
        update={
            "answers": tuple(answers),
            "item_models": models,
            "unsupported": tuple(
                sorted(unsupported.union(set(computed.unsupported) - cached.keys()))
            ),
            "windowed": tuple(sorted(windowed.union(set(computed.windowed) - cached.keys()))),
            "files": (
                *(each for each in computed.files if each.index not in cached),
                *(file.model_copy(update={"index": index}) for index, file in files.items()),
            ),
        }
    )


def _checksum(job: str) -> int:
    """4 bytes of an entry instead of 32; jobs that share one compute the same item twice."""
    return zlib.crc32(job.encode())


def _out(number: float | None) -> _Number:
    return None if number is None else round(number * _UNIT)


def _in(number: _Number) -> float | None:
    return None if number is None else number / _UNIT


def _answer_out(answer: Answer) -> _Answer:
    scores = list(map(_out, answer.scores))
    return answer.best, scores, _out(answer.margin), _out(answer.fit), answer.unknown


def _answer_in(entry: _Answer) -> Answer:
    best, scores, margin, fit, unknown = entry
    return Answer(
        best=best,
        scores=tuple(map(_in, scores)),
        margin=_in(margin),
        fit=_in(fit),
        unknown=unknown,
    )


def _alike_out(alike: LabelsAlike, questions: Questions) -> tuple[int, int, int, int]:
    number = next(i for i, each in enumerate(questions) if each.group == alike.group)
    first, second = (questions[number].labels.index(label) for label in alike.labels)
    return number, first, second, round(alike.value * _UNIT)


def _alike_in(entry: tuple[int, int, int, int], questions: Questions) -> LabelsAlike:
    number, first, second, value = entry
    question = questions[number]
    labels = (question.labels[first], question.labels[second])
    return LabelsAlike(group=question.group, labels=labels, value=value / _UNIT)


def _file_out(file: FileRead) -> _CachedFile:
    return _CachedFile(
        kind=_KINDS.index(file.kind),
        by=_BY.index(file.by),
        total_pages=file.total_pages,
        pages=file.pages,
        scanned=file.scanned,
        answers=[list(map(_answer_out, page)) for page in file.answers],
    )


def _file_in(entry: _CachedFile) -> FileRead:
    return FileRead(
        index=0,
        kind=_KINDS[entry.kind],
        by=_BY[entry.by],
        total_pages=entry.total_pages,
        pages=entry.pages,
        scanned=entry.scanned,
        answers=tuple(tuple(map(_answer_in, page)) for page in entry.answers),
    )
