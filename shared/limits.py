"""Limits of one request, with units in their names, and the errors for requests over a limit.

Nothing is truncated silently: the error names the limit, the offending field and a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.bad_items import each_item
from shared.errors import (
    FieldError,
    InvalidLabels,
    InvalidRequest,
    LabelLimitExceeded,
    PigeonholeError,
    TokenLimitExceeded,
)
from shared.normal_form import is_empty, normal_form
from shared.settings import Settings
from shared.types import (
    ClassifyRequest,
    EvaluateRequest,
    Example,
    Item,
    Media,
    Question,
    TrainRequest,
)
from shared.validation import inner

_MIN_WEIGHT, _MAX_WEIGHT = 0.001, 1000.0  # squares and quotients of weights must stay finite
_MAX_URL_CHARS = 2048
_MAX_DATA_URI_CHARS = 256  # the header of a data URI, and base64 padding
COMPARED_LABELS = 8
"""Labels of each input that the engine `hybrid` compares with an NLI model, at most."""
_CHARS_PER_TOKEN = 32  # above the mean of any ordinary text; English has 4 to 5


def _input(index: int) -> str:
    return f"input[{index}]"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The maximum contents of one request."""

    max_inputs: int = 1024
    max_labels: int = 256
    max_groups: int = 8
    max_label_chars: int = 256
    max_description_chars: int = 2000
    max_label_examples: int = 1024  # of all labels of a classify request
    max_input_tokens: int = 8192
    max_label_tokens: int = 16384
    max_pairs: int = 4096
    max_examples: int = 50_000
    max_num_iters: int = 100
    max_classifier_labels: int = 1024
    max_images: int = 20  # of one item
    max_image_bytes: int = 8 * 2**20
    max_document_bytes: int = 32 * 2**20
    max_pages: int = 20
    max_document_tokens: int = 1_000_000

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the operator configured."""
        return cls(
            max_inputs=settings.max_inputs,
            max_labels=settings.max_labels,
            max_groups=settings.max_groups,
            max_label_chars=settings.max_label_chars,
            max_description_chars=settings.max_description_chars,
            max_label_examples=settings.max_label_examples,
            max_input_tokens=settings.max_input_tokens,
            max_label_tokens=settings.max_label_tokens,
            max_pairs=settings.max_pairs,
            max_examples=settings.max_examples,
            max_num_iters=settings.max_num_iters,
            max_classifier_labels=settings.max_classifier_labels,
            max_images=settings.max_images,
            max_image_bytes=settings.max_image_bytes,
            max_document_bytes=settings.max_document_bytes,
            max_pages=settings.max_pages,
            max_document_tokens=settings.max_document_tokens,
        )

    def check(self, request: ClassifyRequest) -> ClassifyRequest:
        """Refuse a request that is empty or over a limit.

        Returns:
            The request; with `errors="per_item"`, without its invalid items.

        Raises:
            InvalidRequest: Too many or no inputs, an empty text or label, a text too long.
            InvalidLabels: Fewer than two distinct labels in a single-label question.
            LabelLimitExceeded: Too many labels or groups.
        """
        if not request.items:
            _refuse("input", "must hold at least one item")
        if len(request.items) > self.max_inputs:
            _refuse(
                f"input[{self.max_inputs}]",
                f"at most {self.max_inputs} inputs are allowed in one request, got "
                f"{len(request.items)}; send the rest in further requests",
            )
        request = each_item(request, self._checked)
        if request.shared_media is not None:
            self._check_item(_input(0), request.shared_media)
        if request.files.max_pages is not None and request.files.max_pages > self.max_pages:
            _refuse("max_pages", f"must be at most {self.max_pages}")
        if request.classifier is None and not request.questions:
            _refuse("labels", "must hold at least one question")
        if len(request.questions) > self.max_groups:
            _refuse(
                "labels",
                f"at most {self.max_groups} label groups are allowed, got {len(request.questions)}",
                LabelLimitExceeded,
            )
        groups: set[str] = set()
        for question in request.questions:
            self._check_question(question, multi_label=request.multi_label)
            name = normal_form(question.group or "")
            if name in groups:
                field = inner("labels", question.group or "")
                _refuse(field, "stands twice, in two spellings of one group")
            groups.add(name)
        self._check_pairs(request)
        for label, text in request.descriptions.items():
            self._check_length(inner("descriptions", label), text, self.max_description_chars)
        self._check_label_examples(request)
        if request.template is not None:
            self._check_length("template", request.template, self.max_description_chars)
        if request.top_k is not None and request.top_k < 1:
            _refuse("top_k", "must be at least 1")
        return request

    def _check_pairs(self, request: ClassifyRequest) -> None:
        """Refuse a call for which an NLI model would run for minutes."""
        pairs = sum(self.compared_labels(request)) * len(request.items)
        if pairs <= self.max_pairs:
            return
        remedy = "send fewer inputs, or a batch"
        if request.engine_fallback:
            remedy = "send fewer labels"
        elif request.engine == "nli":
            remedy = (
                f'send "engine": "hybrid", which compares the best {COMPARED_LABELS} labels only, '
                "or fewer inputs, or a batch"
            )
        _refuse(
            "labels" if request.engine_fallback else "engine",
            f"{request.engine} would compare {pairs} pairs of an input and a label, but at most "
            f"{self.max_pairs} are allowed in one request; {remedy}",
            LabelLimitExceeded,
        )

    def compared_labels(self, request: ClassifyRequest) -> list[int]:
        """How many labels of each question an NLI model compares with a text."""
        most = {"nli": self.max_labels, "hybrid": COMPARED_LABELS}.get(request.engine or "", 0)
        return [min(most, len(question.labels)) for question in request.questions]

    def check_training(
        self, request: TrainRequest, *, place: Callable[[int], str] = _input
    ) -> None:
        """Refuse training examples that are too many, or of which one is invalid.

        Args:
            request: the examples.
            place: the field path of an example, by its index.

        Raises:
            InvalidRequest: As for `check`; also a wrong `num_iters` or `weight`.
            InvalidLabels: Fewer than two distinct labels for a new classifier.
            LabelLimitExceeded: More labels than a classifier may have.
        """
        self.check_num_iters(request.num_iters)
        self._check_examples(request.examples, place)
        for index, example in enumerate(request.examples):
            if example.label is None:
                _refuse(f"{place(index)}.label", "is missing: every example needs a label")
        labels = {normal_form(example.label or "") for example in request.examples}
        if request.create is not None and len(labels) < 2:
            _refuse(
                "input",
                f"at least 2 distinct labels are needed to make a classifier, got {len(labels)}",
                InvalidLabels,
            )
        self.check_classifier_labels(len(labels))

    def check_evaluation(
        self, request: EvaluateRequest, *, place: Callable[[int], str] = _input
    ) -> None:
        """Refuse evaluation examples that are too many, or of which one is invalid.

        Raises:
            InvalidRequest: As for `check`; also if no example has a label.
        """
        self._check_examples(request.examples, place)
        if all(example.label is None for example in request.examples):
            _refuse("input", "no example has a label: add labels to some of them")

    def check_num_iters(self, count: int, *, field: str = "num_iters") -> None:
        """Refuse an invalid number of iterations.

        Raises:
            InvalidRequest: It is less than one, or more than `max_num_iters`.
        """
        if not 1 <= count <= self.max_num_iters:
            _refuse(field, f"must be from 1 to {self.max_num_iters}, got {count}")

    def check_new_names(self, changes: Mapping[str, str | None]) -> None:
        """Refuse new names of labels that no label may have; they are by old name, None removes.

        Raises:
            InvalidRequest: One is empty or too long.
        """
        for label, name in changes.items():
            if name is not None:
                self._refuse_label(inner("labels", label), name)

    def check_classifier_labels(self, count: int) -> None:
        """Refuse more labels than a classifier may have.

        Raises:
            LabelLimitExceeded: There are more.
        """
        if count > self.max_classifier_labels:
            _refuse(
                "input",
                f"a classifier may have at most {self.max_classifier_labels} labels, but this "
                f"one would have {count}: train a second classifier",
                LabelLimitExceeded,
            )

    def check_tokens(self, index: int, tokens: int) -> None:
        """Refuse one input that is too long.

        Raises:
            TokenLimitExceeded: It has more tokens than `max_input_tokens`.
        """
        if tokens > self.max_input_tokens:
            _refuse(
                f"input[{index}]",
                f"has {tokens} tokens; at most {self.max_input_tokens} are allowed in one input: "
                "split the text",
                TokenLimitExceeded,
            )

    def check_document_tokens(self, tokens: int) -> None:
        """Refuse a document whose text is too long; `tokens` may be a lower bound.

        Raises:
            TokenLimitExceeded: It has more tokens than `max_document_tokens`.
        """
        if tokens > self.max_document_tokens:
            raise TokenLimitExceeded(
                f"the document has more than {self.max_document_tokens} tokens, the limit of one "
                "document: split it, or read fewer pages of a PDF (max_pages)"
            )

    def check_label_tokens(self, group: str | None, tokens: int) -> None:
        """Refuse labels that together have too many tokens.

        Raises:
            TokenLimitExceeded: They have more tokens than `max_label_tokens`.
        """
        if tokens > self.max_label_tokens:
            _refuse(
                "labels" if group is None else inner("labels", group),
                f"labels, descriptions and examples have {tokens} tokens; at most "
                f"{self.max_label_tokens} are allowed in one question: shorten the descriptions, "
                "or send fewer examples",
                TokenLimitExceeded,
            )

    def _check_label_examples(self, request: ClassifyRequest) -> None:
        count = sum(map(len, request.examples.values()))
        if count > self.max_label_examples:
            _refuse(
                "examples",
                f"at most {self.max_label_examples} examples are allowed in one request, got "
                f"{count}: train a classifier with them, which learns from any number",
            )
        for label, texts in request.examples.items():
            place = inner("examples", label)
            if not texts:
                _refuse(place, "must hold at least one text; leave the label out")
            for index, text in enumerate(texts):
                if is_empty(text):
                    _refuse(f"{place}[{index}]", "must not be empty; leave the text out")
                self._check_length(f"{place}[{index}]", text, self.max_description_chars)

    def _check_examples(self, examples: Sequence[Example], place: Callable[[int], str]) -> None:
        if not examples:
            _refuse("input", "must hold at least one example")
        if len(examples) > self.max_examples:
            _refuse(
                place(self.max_examples),
                f"at most {self.max_examples} examples are allowed in one call, got "
                f"{len(examples)}; send the rest in further calls",
            )
        for index, example in enumerate(examples):
            where = place(index)
            self._check_item(where, example.item)
            if example.label is not None and is_empty(example.label):
                _refuse(f"{where}.label", "must not be empty")
            self._check_length(f"{where}.label", example.label or "", self.max_label_chars)
            if example.num_iters is not None:
                self.check_num_iters(example.num_iters, field=f"{where}.num_iters")
            if not _MIN_WEIGHT <= example.weight <= _MAX_WEIGHT:
                _refuse(f"{where}.weight", f"must be from {_MIN_WEIGHT:g} to {_MAX_WEIGHT:g}")

    def _checked(self, index: int, item: Item) -> Item:
        self._check_item(_input(index), item)
        return item

    def _check_item(self, where: str, item: Item) -> None:
        if not item.media:
            self._check_text(where, item.text)
            return
        if len(item.images) > self.max_images:
            _refuse(
                f"{where}.image",
                f"at most {self.max_images} images are allowed in one item, got "
                f"{len(item.images)}; send images of different things as separate items",
            )
        for image in item.images:
            self._check_media(f"{where}.image", image, self.max_image_bytes)
        if item.file is not None:
            self._check_media(f"{where}.file", item.file, self.max_document_bytes)
        if item.text:
            self._check_text(where, item.text)

    def _check_media(self, where: str, media: Media, max_bytes: int) -> None:
        if len(media.url) > _MAX_URL_CHARS:
            _refuse(where, f"a URL may have at most {_MAX_URL_CHARS} characters")
        scheme = media.url.partition(":")[0].lower()
        if media.url and scheme not in {"http", "https", "s3"}:
            _refuse(where, "must be base64, a data URI, or a URL with http, https or s3")
        if not (media.url or media.file_id or media.object or media.data):
            _refuse(where, "must not be empty; send one, or leave the item out")
        if len(media.data) > max_bytes * 4 // 3 + _MAX_DATA_URI_CHARS:
            _refuse(
                where,
                f"has {len(media.data) * 3 // 4} bytes; at most {max_bytes} are allowed: send a "
                "smaller one",
            )

    def _check_text(self, where: str, text: str) -> None:
        if is_empty(text):
            what = "has no visible characters" if text.strip() else "must not be empty"
            _refuse(f"{where}.text", f"{what}; send a text, or leave the item out")
        max_chars = self.max_input_tokens * _CHARS_PER_TOKEN
        if len(text) > max_chars:  # saves tokenizing a text that is over the limit anyway
            _refuse(
                where,
                f"has {len(text)} characters, far beyond {self.max_input_tokens} tokens: "
                "split the text",
                TokenLimitExceeded,
            )

    def _check_question(self, question: Question, *, multi_label: bool) -> None:
        field = "labels" if question.group is None else inner("labels", question.group)
        if question.group is not None:
            if is_empty(question.group):
                _refuse(field, "the name of a label group must not be empty")
            self._check_length(field, question.group, self.max_label_chars)
        least = 1 if multi_label else 2
        if len(question.labels) < least:
            _refuse(
                field,
                f"at least {least} distinct labels are needed, got {len(question.labels)}",
                InvalidLabels,
            )
        if len(question.labels) > self.max_labels:
            _refuse(
                field,
                f"at most {self.max_labels} labels are allowed, got {len(question.labels)}",
                LabelLimitExceeded,
            )
        for index, label in enumerate(question.labels):
            if is_empty(label) or len(label) > self.max_label_chars:
                self._refuse_label(f"{field}[{index}]", label)

    def _refuse_label(self, field: str, label: str) -> None:
        if is_empty(label):
            _refuse(field, "a label must not be empty")
        self._check_length(field, label, self.max_label_chars)

    def _check_length(self, field: str, text: str, most: int) -> None:
        if len(text) > most:
            _refuse(field, f"at most {most} characters are allowed, got {len(text)}: shorten it")


def _refuse(field: str, message: str, error: type[PigeonholeError] = InvalidRequest) -> None:
    raise error(f"{field}: {message}", fields=(FieldError(field=field, message=message),))
