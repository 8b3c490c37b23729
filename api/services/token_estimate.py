"""The rate class of a request, and its tokens as far as they are known before a model reads it.

A text has a token for every 4 bytes of UTF-8: English has 4 to 5 characters a token, Chinese 1 to
2, which are 3 bytes each. The end of the call corrects the estimate.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.batches import BatchRequest
from shared.job_kinds import Body
from shared.tiers import RateClass
from shared.types import ClassifyRequest, EvaluateRequest, Example, Item, TrainRequest

_BYTES_PER_TOKEN = 4
_MEDIA_TOKENS = 4000  # an image of 448 x 448: 2 x 2 tiles of 1,000 tokens


def rate_class_of(request: Body) -> RateClass:
    """The class of a request: zero-shot, or few-shot and everything that trains."""
    if isinstance(request, ClassifyRequest):
        return "zero_shot" if request.classifier is None else "few_shot"
    if isinstance(request, BatchRequest):
        few_shot = request.rows is not None and request.rows.ask.classifier is not None
        return "few_shot" if few_shot else "zero_shot"
    return "few_shot"


def estimated_tokens(request: Body) -> int:
    """Tokens of a request; 0 for a batch, whose rows have a limit of their own."""
    if isinstance(request, ClassifyRequest):
        labels = [label for question in request.questions for label in question.labels]
        texts = [*labels, *request.descriptions.values()]
        return sum(map(_item_tokens, request.items)) + sum(map(_text_tokens, texts))
    if isinstance(request, TrainRequest):
        return _example_tokens(request.examples, request.num_iters)
    if isinstance(request, EvaluateRequest):
        return _example_tokens(request.examples, 1)
    return 0


def _example_tokens(examples: Iterable[Example], num_iters: int) -> int:
    return sum(_item_tokens(each.item) * (each.num_iters or num_iters) for each in examples)


def _item_tokens(item: Item) -> int:
    return _text_tokens(item.text) + _MEDIA_TOKENS * len(item.media)


def _text_tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode())
    return -(-size // _BYTES_PER_TOKEN)
