"""The values inside the service: what every dialect parses to and every handler answers with.

All are frozen and checked when made. Their JSON form is what messages and stored objects hold.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Scores = Literal["calibrated", "jina", "raw"]
FileBy = Literal["auto", "text", "pages", "both"]
Access = Literal["private", "public"]
ItemErrors = Literal["fail", "per_item"]
RemarkKind = Literal["conflicting_duplicates", "few_examples", "similar_labels"]


class Value(BaseModel):
    """A frozen value. A field that is not known is passed over: a newer process wrote it, and what
    must not be passed over has a newer schema number (`shared.messages`).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Priority(IntEnum):
    """Who goes first when a model is wanted by several: lower numbers do."""

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
    BATCH = "batch"
    DRY_RUN = "dry_run"


class Media(Value):
    """Bytes that come with an item; one of the fields says where they are."""

    data: str = ""  # base64, plain or as a data URI
    url: str = ""
    file_id: str = ""  # a file of the account
    object: str = ""  # where that file lies on the store, once it was looked up


class Item(Value):
    """One thing to classify: a text, images of one thing, or a document."""

    text: str = ""
    images: tuple[Media, ...] = ()
    file: Media | None = None

    @property
    def media(self) -> tuple[Media, ...]:
        """What has to be read before it can be classified."""
        return self.images if self.file is None else (*self.images, self.file)


class FileReading(Value):
    """How documents are judged: by their text, by their pages as images, or by both.

    `auto`: by the text where there is some, else by the pages. `both`: the mean of the scores, or
    those of the one that there is. Text without pages of its own is read whole; so many of its
    pages are answered one by one.
    """

    by: FileBy = "auto"
    max_pages: int | None = None  # None: as many as the operator allows
    per_page: bool = False


class Question(Value):
    """One choice between labels. `group` is None for the only question of a plain request."""

    group: str | None = None
    labels: tuple[str, ...]


DEFAULT_KEY, OTHERS_KEY = "default", "*"  # in a threshold by label: labels that are not named


class Threshold(Value):
    """The least score a label needs to stay in the answer, in the unit of `scores`.

    `default` is that of labels without one of their own. In `per_label`, the key `default` is that
    of the label of this name; among labels without it, of those without one of their own.
    """

    default: float | None = None
    per_label: dict[str, float] = Field(default_factory=dict)

    def of(self, label: str) -> float | None:
        """The threshold of one label, or None where every score will do."""
        return self.per_label.get(label, self.default)


class ClassifierVersion(Value):
    """One version of a classifier, by where its weights lie; immutable, so it may be kept."""

    account: str  # the owner's
    classifier_id: str
    version: int
    file: str


class Failure(Value):
    """An error at rest: what `shared.errors` raises, in a message or in a job record.

    `retryable` is that of its class; False where a version wrote it that did not keep it.
    """

    code: str
    detail: str
    fields: tuple[tuple[str, str, str], ...] = ()
    retry_after_s: int | None = None
    retryable: bool = False


class FailedItem(Value):
    """An item without an answer, among others that have one."""

    index: int
    failure: Failure


class JobRequest(Value):
    """The request of a job, of the kind of its class (`shared.job_kinds`); `model` runs it."""

    kind: str
    model: str


class ClassifyRequest(JobRequest):
    """Items to sort into labels by one model: those of the questions, or what a classifier learnt.

    With `classifier` there are no questions; the result says what the labels are.

    `errors` says what a bad item does: with `fail` it refuses the request, with `per_item` it alone
    has no answer. None: a medium that cannot be read fails alone, any other bad item refuses the
    request. `refused` are items found bad before a worker sees them; an empty `Item` stands at the
    place of each in `items`.
    """

    kind: Literal["classify"] = "classify"
    items: tuple[Item, ...]
    questions: tuple[Question, ...] = ()
    classifier: ClassifierVersion | None = None
    descriptions: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    scores: Scores = "calibrated"
    multi_label: bool = False
    threshold: Threshold | None = None
    top_k: int | None = None
    return_uncertainty: bool = False
    return_fit: bool = False
    unknown_below: float | None = None  # 0..1: answers with a lower fit have no prediction
    files: FileReading = FileReading()
    errors: ItemErrors | None = None
    refused: tuple[FailedItem, ...] = ()

    @property
    def needs_fit(self) -> bool:
        """Whether answers have a fit."""
        return self.return_fit or self.unknown_below is not None


class Example(Value):
    """An item and what it is; without a label only where an evaluation ranks what to label next.

    `num_iters` and `weight` say how much it counts against the others.
    """

    item: Item
    label: str | None
    num_iters: int | None = None
    weight: float = 1.0


class ExampleFile(Value):
    """A file of examples on the store, for a worker to read, and what the request says of it.

    `default_model`: the request names no model, so that images may choose one that reads them.
    """

    object: str
    filename: str = ""
    format: Literal["jsonl", "csv", "parquet"] | None = None  # None: found out, as the next two
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0
    text_column: str = "text"
    label_column: str = "label"
    default_model: bool = False


class NewClassifier(Value):
    """What a classifier is given when it is made."""

    name: str | None = None
    description: str = ""
    access: Access = "private"
    keep_examples: bool = False


class TrainRequest(JobRequest):
    """Examples to learn, in this order. `create` makes the classifier, else it is there.

    With a `file` the examples are in it, until a worker has read them.
    """

    kind: Literal["train"] = "train"
    classifier_id: str
    create: NewClassifier | None = None
    num_iters: int = 10
    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None


class RebuildRequest(JobRequest):
    """A classifier to be learnt anew by another model, from the examples that were kept."""

    kind: Literal["rebuild"] = "rebuild"
    classifier_id: str


class RelabelRequest(JobRequest):
    """Labels of a classifier to be renamed, merged, or taken away where the new name is None."""

    kind: Literal["relabel"] = "relabel"
    classifier_id: str
    labels: dict[str, str | None]


class ImportRequest(JobRequest):
    """A classifier to be made from a file of weights, which lies on the store as `upload`."""

    kind: Literal["import"] = "import"
    classifier_id: str
    create: NewClassifier
    upload: str


class EvaluateRequest(JobRequest):
    """Examples to judge one version of a classifier by; with a `file` they are in it."""

    kind: Literal["evaluate"] = "evaluate"
    classifier: ClassifierVersion
    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None


class Answer(Value):
    """The scores of one question for one item, aligned with the question's labels.

    A label removed by `threshold` or `top_k` has the score None. `best` is the index of the
    highest remaining score, or None when no label remains. `margin`, where it was asked for, is
    how far the best calibrated score is ahead of the second. `fit`, where it was asked for, is the
    probability that the item is one of what the labels or examples describe; `unknown`: the fit is
    too low for a prediction.
    """

    best: int | None
    scores: tuple[float | None, ...]
    margin: float | None = None
    fit: float | None = None
    unknown: bool = False


class LabelsAlike(Value):
    """Two labels of a question that are nearly one to the model, by the cosine `value`."""

    group: str | None = None
    labels: tuple[str, str]
    value: float


class Usage(Value):
    """What a request cost, counted by the model's own tokenizer, without special tokens."""

    input_tokens: int = 0
    label_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens charged."""
        return self.input_tokens + self.label_tokens


class JobResult(Value):
    """The result of a job; kinds that answer the same share a class."""

    usage: Usage


class FileRead(Value):
    """What was read of the document of an item; the answers by page if they were asked for."""

    index: int  # of the item
    kind: str
    total_pages: int
    pages: int  # that were read whole
    by: FileBy
    scanned: bool
    answers: tuple[tuple[Answer, ...], ...] = ()


class ClassifyResult(JobResult):
    """Answers by item, each with one answer per question, in the order of the request.

    `labels` are those of the classifier, where one was asked. An item that failed has no answers.
    """

    answers: tuple[tuple[Answer, ...], ...]
    windowed: tuple[int, ...] = ()  # items longer than the model's window: read whole, in windows
    labels: tuple[str, ...] | None = None
    files: tuple[FileRead, ...] = ()
    failed: tuple[FailedItem, ...] = ()
    alike: tuple[LabelsAlike, ...] = ()


class ProgressiveEvaluation(Value):
    """How a call's examples were predicted, each before it was learnt.

    `curve`: (examples learnt before, share right). `trust`: the share of each source in the
    scores. `label_strength`: how far examples follow the meaning of their labels' names.
    """

    accuracy: float
    log_loss: float
    curve: tuple[tuple[int, float], ...]
    trust: dict[str, float]
    label_strength: float


class TrainingWarning(Value):
    """What in the examples or labels will hurt the classifier; `items` are indices of the call."""

    kind: RemarkKind
    labels: tuple[str, ...]
    items: tuple[int, ...] = ()
    value: float  # a count of examples, or a cosine


class VersionReport(Value):
    """All that is known of one version of a classifier but its weights."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]  # examples of each label
    progressive: ProgressiveEvaluation | None = None
    remarks: tuple[TrainingWarning, ...] = ()


class TrainResult(JobResult):
    """A new version of a classifier: trained, rebuilt or imported."""

    classifier_id: str
    version: int
    num_samples: int  # of this call
    report: VersionReport


class LabelQuality(Value):
    """How one label fares in an evaluation; `threshold` is the score with the best F1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    threshold: float


class ReliabilityBin(Value):
    """Items whose best score lies in a bin that ends at `upper`."""

    upper: float
    confidence: float
    accuracy: float
    count: int


class UncertainItem(Value):
    """An item the classifier is unsure of."""

    index: int
    prediction: str
    score: float
    margin: float


class EvaluateResult(JobResult):
    """How good a version is on labelled examples. `confusion`: row true, column predicted."""

    classifier_id: str
    version: int
    num_samples: int  # those with a label
    accuracy: float
    macro_f1: float
    micro_f1: float
    calibration_error: float
    labels: tuple[LabelQuality, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    worth_labelling: tuple[UncertainItem, ...]
    plots: tuple[str, ...] = ()  # file names beside the result
