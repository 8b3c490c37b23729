"""The internal values: what dialects parse to, and what handlers return.

All are frozen and validated at construction. Messages and stored objects hold their JSON form.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Scores = Literal["calibrated", "jina", "raw"]
FileBy = Literal["auto", "text", "pages", "both"]
Access = Literal["private", "public"]
ItemErrors = Literal["fail", "per_item"]
Engine = Literal["embedding", "nli", "hybrid", "auto"]


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, because a newer process may have written them. A
    field that must not be ignored comes with a newer schema number (`shared.messages`).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Priority(IntEnum):
    """Priority of work on a model: lower numbers run first."""

    FAST = 0
    STANDARD = 1
    BULK = 2


class JobKind(StrEnum):
    """What a job does; each kind has one handler."""

    CLASSIFY = "classify"
    TRAIN = "train"
    REBUILD = "rebuild"
    RELABEL = "relabel"
    IMPORT = "import"
    EVALUATE = "evaluate"
    RETRAIN = "retrain"
    BATCH = "batch"
    DRY_RUN = "dry_run"


class Media(Value):
    """Bytes of an item; exactly one of the fields is set and says where the bytes are."""

    data: str = ""  # base64, plain or as a data URI
    url: str = ""
    file_id: str = ""  # id of a stored file of the account
    object: str = ""  # object key of that file, once it was resolved


class Item(Value):
    """One thing to classify: a text, images of one thing, or a document; or a text with either."""

    text: str = ""
    images: tuple[Media, ...] = ()
    file: Media | None = None

    @property
    def media(self) -> tuple[Media, ...]:
        """The images and documents that must be fetched and decoded before classification."""
        return self.images if self.file is None else (*self.images, self.file)


class FileReading(Value):
    """How documents are classified: by their text, by their pages as images, or by both.

    `auto`: by the text if there is any, else by the pages. `both`: the mean of the scores, or the
    scores of the view that exists. A text without pages is read completely; with
    `per_page`, at most `max_pages` of its pages have results of their own.
    """

    by: FileBy = "auto"
    max_pages: int | None = None  # None: as many as the operator allows
    per_page: bool = False


class Question(Value):
    """One choice between labels. `group` is None for the only question of a plain request."""

    group: str | None = None
    labels: tuple[str, ...]


DEFAULT_KEY, OTHERS_KEY = "default", "*"  # keys of `threshold`: labels without an entry


class Threshold(Value):
    """The minimum score of a label in the response, in the unit of `scores`.

    `default`, and the key `default` where it is no label, apply to labels without an entry.
    """

    default: float | None = None
    per_label: dict[str, float] = Field(default_factory=dict)

    def of(self, label: str) -> float | None:
        """The threshold of one label, or None if every score passes."""
        return self.per_label.get(label, self.default)


class ClassifierVersion(Value):
    """A version of a classifier, with the file of its weights; immutable, so it may be cached."""

    account: str  # the owner's account
    classifier_id: str
    version: int
    file: str
    observe: bool = True  # whether what it classifies is counted, for drift


class Failure(Value):
    """A stored error: an exception of `shared.errors`, in a message or a job record.

    `retryable` is the flag of its class; False in records of versions without the field.
    """

    code: str
    detail: str
    fields: tuple[tuple[str, str, str], ...] = ()
    retry_after_s: int | None = None
    retryable: bool = False


class FailedItem(Value):
    """An item without a result, in a request whose other items have results."""

    index: int
    failure: Failure


class JobRequest(Value):
    """The request of a job, of the kind of its class (`shared.job_kinds`); `model` runs it. With
    `multilingual_model`, that one runs what is not English; a worker that holds both chooses.
    """

    kind: str
    model: str
    multilingual_model: str | None = Field(default=None, exclude_if=lambda name: name is None)

    @property
    def queue_model(self) -> str:
        """The model in whose queue the request waits: the rarer one of two."""
        return self.multilingual_model or self.model


class ClassifyRequest(JobRequest):
    """Items to classify with one model: by the labels of the questions, or by a classifier.

    With `classifier` there are no questions; the result holds the labels.

    `errors`: with `fail`, one invalid item refuses the request; with `per_item`, it alone has no
    result. `refused` are items that validation rejected; an empty `Item` replaces each in `items`.

    `engine` scores the labels; None: not asked for, which means `embedding`. With `nli`, `model` is
    an NLI model. With `hybrid`, `model` embeds and `nli_model` compares the best labels; a worker
    that holds both runs it. With `engine_fallback`, no field of the caller names the engine, and
    `embedding` answers where it is not held. `shared.engine_resolution` sets what is left open.

    `cache`: equal items may be answered from the result cache. `cached` items were: the worker
    skips them, which are empty in `items`. `pages_model` reads the pages of scans for `model`.
    """

    kind: Literal["classify"] = "classify"
    items: tuple[Item, ...]
    shared_media: Item | None = None  # images or a document beside the text of every item
    questions: tuple[Question, ...] = ()
    classifier: ClassifierVersion | None = None
    descriptions: dict[str, str] = Field(default_factory=dict)
    examples: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # texts by label
    examples_only: bool = False  # the names of labels with examples do not count
    template: str | None = None
    scores: Scores = "calibrated"
    multi_label: bool = False
    threshold: Threshold | None = None
    top_k: int | None = None
    return_uncertainty: bool = False
    return_fit: bool = False
    unknown_below: float | None = None  # 0..1: a result with a lower fit has no prediction
    files: FileReading = FileReading()
    # Jobs that earlier versions accepted may have null.
    errors: Annotated[ItemErrors, BeforeValidator(lambda value: value or "fail")] = "fail"
    refused: tuple[FailedItem, ...] = ()
    engine: Engine | None = None
    engine_fallback: bool = False
    nli_model: str | None = None  # of the engine `hybrid`
    pages_model: str | None = Field(default=None, exclude_if=lambda name: name is None)
    cache: bool = False
    cached: tuple[int, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The models that run it."""
        names = (self.model, self.nli_model, self.multilingual_model, self.pages_model)
        return tuple(name for name in names if name is not None)

    @property
    def reads_media(self) -> bool:
        """Whether an item has images or a document."""
        return self.shared_media is not None or any(item.media for item in self.items)

    @property
    def with_shared_media(self) -> ClassifyRequest:
        """The same request, each item with its own reference to what they share."""
        shared = self.shared_media
        if shared is None:
            return self
        media = {"images": shared.images, "file": shared.file}
        items = tuple(item.model_copy(update=media) for item in self.items)
        return self.model_copy(update={"items": items, "shared_media": None})

    @property
    def needs_fit(self) -> bool:
        """Whether results have a fit."""
        return self.return_fit or self.unknown_below is not None

    @property
    def compares_pairs(self) -> bool:
        """Whether an NLI model compares items with labels."""
        return self.engine in {"nli", "hybrid"}

    @property
    def queue_model(self) -> str:
        """The model in whose queue the request waits: the rarer one of two."""
        return self.nli_model or super().queue_model


class Example(Value):
    """An item and its label, which only an evaluation may leave out: it then ranks the item.

    `num_iters` and `weight` are its influence in training.
    """

    item: Item
    label: str | None
    num_iters: int | None = None
    weight: float = 1.0


class ExampleFile(Value):
    """A file of examples which a worker reads: on the object store, or in a bucket by `url`.

    `default_model`: the request names no model, so that images may select one that reads them.
    """

    object: str = ""
    url: str = ""
    etag: str = ""  # of the object at `url`
    kept: bool = False  # when the job has ended
    filename: str = ""
    format: Literal["jsonl", "csv", "parquet"] | None = None  # None: detected, as are the next two
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0
    text_column: str = "text"
    label_column: str = "label"
    default_model: bool = False


class NewClassifier(Value):
    """Properties of a new classifier."""

    name: str | None = None
    description: str = ""
    access: Access = "private"
    keep_examples: bool = False
    closed_labels: bool = False
    observe: bool = True


class TrainRequest(JobRequest):
    """Examples to learn, in this order. With `create` the classifier is created, else it exists and
    training continues from `base` or the latest version; a `candidate` does not become the latest.
    With a `file`, the examples are in the file until a worker has read them.
    """

    kind: Literal["train"] = "train"
    classifier_id: str
    create: NewClassifier | None = None
    base: int | None = None  # a version
    candidate: bool = False
    num_iters: int = 10
    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None


class EvaluateRequest(JobRequest):
    """Examples for the evaluation of one classifier version; with a `file` they are in it."""

    kind: Literal["evaluate"] = "evaluate"
    classifier: ClassifierVersion
    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None


class Answer(Value):
    """The scores of one question for one item, aligned with the question's labels.

    A label that `threshold` or `top_k` removes has the score None. `best` is the index of the
    highest remaining score, or None if no label remains. `margin`, if requested, is the difference
    between the best and the second calibrated score. `fit`, if requested, is the probability that
    the labels or examples describe the item; `unknown`: the fit is too low for a prediction.
    """

    best: int | None
    scores: tuple[float | None, ...]
    margin: float | None = None
    fit: float | None = None
    unknown: bool = False


class LabelsAlike(Value):
    """Two labels of a question that the model hardly distinguishes, with their cosine `value`."""

    group: str | None = None
    labels: tuple[str, str]
    value: float


class Usage(Value):
    """Tokens of a request, counted by the model's own tokenizer, without special tokens.

    Attributes:
        input_tokens: Of the items; an image counts by its size.
        label_tokens: Of labels and descriptions.
        visual_tokens: Of `input_tokens`, those of images and of the pages of documents.
        train_tokens: Of the examples that were learnt, times their iterations.
    """

    input_tokens: int = 0
    label_tokens: int = 0
    # Excluded if zero: a record of a version without the fields stays equal to its own bytes.
    visual_tokens: int = Field(default=0, exclude_if=lambda tokens: tokens == 0)
    train_tokens: int = Field(default=0, exclude_if=lambda tokens: tokens == 0)

    @property
    def total_tokens(self) -> int:
        """Number of charged tokens."""
        return self.input_tokens + self.label_tokens + self.train_tokens

    def __add__(self, other: Usage) -> Usage:
        """The sum, field by field."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            label_tokens=self.label_tokens + other.label_tokens,
            visual_tokens=self.visual_tokens + other.visual_tokens,
            train_tokens=self.train_tokens + other.train_tokens,
        )


class JobResult(Value):
    """The result of a job."""

    usage: Usage


class FileRead(Value):
    """What was read of the document of an item; the answers of each page, if requested."""

    index: int  # index of the item
    kind: str
    total_pages: int
    pages: int  # number of completely read pages
    by: FileBy
    scanned: bool
    answers: tuple[tuple[Answer, ...], ...] = ()


def revision_of_models(revisions: Iterable[str]) -> str:
    """That of several models (`LoadedModel.scoring_revision`), in the order of the request."""
    return "+".join(revisions)


class CacheLookup(Value):
    """What the result cache had of a request: the `hits` by index, and the age of the oldest.

    `key` names the request's items and all that decides about their answers.
    """

    key: str
    hits: tuple[int, ...] = ()
    age_s: int = 0


class ClassifyResult(JobResult):
    """Answers by item, each with one answer per question, in the order of the request.

    `labels`: those of the classifier, if the request names one. A failed item has no answers.
    `item_tokens` are the input tokens of each item, `visual_tokens` those of them that are of
    images; empty if there are none. `latency_ms`: how long the caller of a synchronous call waited.
    `revision` is that of the request's models. `cache`: None if it did not use the result cache.
    """

    answers: tuple[tuple[Answer, ...], ...]
    windowed: tuple[int, ...] = ()  # items that are longer than one window of the model
    labels: tuple[str, ...] | None = None
    files: tuple[FileRead, ...] = ()
    failed: tuple[FailedItem, ...] = ()
    alike: tuple[LabelsAlike, ...] = ()
    item_tokens: tuple[int, ...] = ()
    visual_tokens: tuple[int, ...] = ()
    latency_ms: float = 0.0
    revision: str = ""
    cache: CacheLookup | None = None
    # Of `auto`: the model of each item, empty for none; the items in languages that neither knows.
    item_models: tuple[str, ...] = ()
    unsupported: tuple[int, ...] = ()
    label_tokens: dict[str, int] = Field(default_factory=dict)  # by model

    def has_cached(self, index: int) -> bool:
        """Whether the answer of an item comes from the result cache."""
        return self.cache is not None and index in self.cache.hits
