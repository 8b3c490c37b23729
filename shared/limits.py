"""The limits of one request, with units in their names, and the sentences that refuse.

A limit is never a silent cut: the error names the limit, the offending place and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import (
    FieldError,
    InvalidLabels,
    InvalidRequest,
    LabelLimitExceeded,
    PigeonholeError,
    TokenLimitExceeded,
)
from shared.settings import Settings
from shared.types import ClassifyRequest, Question

_CHARS_PER_TOKEN = 32  # more than any ordinary text has on average; English has 4 to 5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may hold."""

    max_inputs: int = 1024
    max_labels: int = 256
    max_groups: int = 8
    max_label_chars: int = 256
    max_description_chars: int = 2000
    max_input_tokens: int = 8192
    max_label_tokens: int = 16384

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the operator set."""
        return cls(
            max_inputs=settings.max_inputs,
            max_labels=settings.max_labels,
            max_groups=settings.max_groups,
            max_label_chars=settings.max_label_chars,
            max_description_chars=settings.max_description_chars,
            max_input_tokens=settings.max_input_tokens,
            max_label_tokens=settings.max_label_tokens,
        )

    def check(self, request: ClassifyRequest) -> None:
        """Refuse a request that holds too much or nothing.

        Raises:
            InvalidRequest: Too many or no inputs, an empty text or label, a text too long.
            InvalidLabels: Fewer than two distinct labels where one is to be chosen.
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
        most_chars = self.max_input_tokens * _CHARS_PER_TOKEN
        for index, item in enumerate(request.items):
            if not item.text.strip():
                _refuse(f"input[{index}].text", "must not be empty; leave the item out")
            if len(item.text) > most_chars:  # spares the tokenizer what it would refuse
                _refuse(
                    f"input[{index}]",
                    f"has {len(item.text)} characters, far beyond {self.max_input_tokens} tokens: "
                    "split the text",
                    TokenLimitExceeded,
                )
        if len(request.questions) > self.max_groups:
            _refuse(
                "labels",
                f"at most {self.max_groups} label groups are allowed, got {len(request.questions)}",
                LabelLimitExceeded,
            )
        for question in request.questions:
            self._check_question(question, multi_label=request.multi_label)
        for label, text in request.descriptions.items():
            self._check_length(f"descriptions[{_shown(label)}]", text, self.max_description_chars)
        if request.template is not None:
            self._check_length("template", request.template, self.max_description_chars)
        if request.top_k is not None and request.top_k < 1:
            _refuse("top_k", "must be at least 1")

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

    def check_label_tokens(self, group: str | None, tokens: int) -> None:
        """Refuse labels that together are too long.

        Raises:
            TokenLimitExceeded: They have more tokens than `max_label_tokens`.
        """
        if tokens > self.max_label_tokens:
            _refuse(
                "labels" if group is None else f"labels[{_shown(group)}]",
                f"labels and descriptions have {tokens} tokens; at most {self.max_label_tokens} "
                "are allowed in one question: shorten the descriptions",
                TokenLimitExceeded,
            )

    def _check_question(self, question: Question, *, multi_label: bool) -> None:
        field = "labels" if question.group is None else f"labels[{_shown(question.group)}]"
        if question.group is not None:
            if not question.group.strip():
                _refuse("labels", "the name of a label group must not be empty")
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
            if not label.strip() or len(label) > self.max_label_chars:
                self._refuse_label(f"{field}[{index}]", label)

    def _refuse_label(self, field: str, label: str) -> None:
        if not label.strip():
            _refuse(field, "a label must not be empty")
        self._check_length(field, label, self.max_label_chars)

    def _check_length(self, field: str, text: str, most: int) -> None:
        if len(text) > most:
            _refuse(field, f"at most {most} characters are allowed, got {len(text)}: shorten it")


def _shown(label: str) -> str:
    """A label inside a field path: bounded, so that an error never echoes a document."""
    return label if len(label) <= 40 else label[:39] + "…"


def _refuse(field: str, message: str, error: type[PigeonholeError] = InvalidRequest) -> None:
    raise error(f"{field}: {message}", fields=(FieldError(field=field, message=message),))
