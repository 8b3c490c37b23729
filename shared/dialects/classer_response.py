"""Responses of the Classer API, made from results. Confidences have 4 decimals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from shared.dialects.classer_request import own_error
from shared.dialects.protocol import Rendered
from shared.errors import PigeonholeError
from shared.messages import error_of
from shared.schema_base import Schema
from shared.types import Answer, ClassifyRequest, ClassifyResult

_DECIMALS = 4


class CacheHit(Schema):
    """Whether the answer is that of an equal text, kept from before."""

    hit: bool


class _Cost(Schema):
    tokens: int = Field(description="Tokens of the input and the labels; none of a cached answer.")
    visual_tokens: int = Field(default=0, description="Those of images; present with images.")


class _Single(_Cost):
    latency_ms: float = Field(description="Time from the request to the answer.")
    cached: bool = Field(description="The answer is that of an equal request, kept from before.")


class ConfidentLabel(Schema):
    """A label that applies."""

    label: str
    confidence: float


class ClassifyTextAnswer(_Single):
    """The best label of one item."""

    label: str
    confidence: float
    all_scores: dict[str, float] = Field(description="The confidence of every label.")


class TagAnswer(_Single):
    """The labels of one item that reach the threshold, the best first; there may be none."""

    labels: list[ConfidentLabel]


class _Text(_Cost):
    error: str | None = Field(default=None, description="Why the text has no answer.")
    cache: CacheHit


class ClassifiedText(_Text):
    """The best label of one of several texts."""

    label: str | None
    confidence: float | None


class TaggedText(_Text):
    """The labels of one of several texts that reach the threshold."""

    labels: list[ConfidentLabel]


class _Several(Schema):
    total_tokens: int
    latency_ms: float


class ClassifyTextsAnswer(_Several):
    """The answers in the order of the texts."""

    results: list[ClassifiedText]


class TagTextsAnswer(_Several):
    """The answers in the order of the texts."""

    results: list[TaggedText]


def classified(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a classify call."""
    (answer,) = result.answers[0]
    labels = labels_of(request, result)
    scores = zip(labels, answer.scores, strict=True)
    all_scores = {label: round(score or 0.0, _DECIMALS) for label, score in scores}
    return _single(result, {**best(labels, answer), "all_scores": all_scores})


def tagged(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a tag call."""
    (answer,) = result.answers[0]
    return _single(result, kept(labels_of(request, result), answer))


def texts_classified(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a classify call for several texts."""
    return _several(request, result, best, {"label": None, "confidence": None})


def texts_tagged(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a tag call for several texts."""
    return _several(request, result, kept, {"labels": []})


def labels_of(request: ClassifyRequest, result: ClassifyResult) -> tuple[str, ...]:
    """Those of the request, or of its classifier."""
    return request.questions[0].labels if result.labels is None else result.labels


def best(labels: tuple[str, ...], answer: Answer) -> dict[str, Any]:
    """The best label.

    >>> best(("a", "b"), Answer(best=1, scores=(0.1, 0.900049)))
    {'label': 'b', 'confidence': 0.9}
    """
    assert answer.best is not None  # nothing removes labels without a threshold
    score = answer.scores[answer.best] or 0.0
    return {"label": labels[answer.best], "confidence": round(score, _DECIMALS)}


def kept(labels: tuple[str, ...], answer: Answer) -> dict[str, Any]:
    """The labels that reach the threshold, the best first.

    >>> kept(("a", "b", "c"), Answer(best=2, scores=(0.6, None, 0.9)))["labels"][0]
    {'label': 'c', 'confidence': 0.9}
    """
    scored = [(s, label) for label, s in zip(labels, answer.scores, strict=True) if s is not None]
    scored.sort(key=lambda pair: -pair[0])
    return {"labels": [{"label": label, "confidence": round(s, _DECIMALS)} for s, label in scored]}


def _single(result: ClassifyResult, found: dict[str, Any]) -> Rendered:
    tokens = result.usage.total_tokens
    body = {
        **found,
        "tokens": tokens,
        **_visual(result, 0),
        "latency_ms": round(result.latency_ms, 1),
        "cached": result.has_cached(0),
    }
    return Rendered(body=body, headers={"X-Tokens-Used": str(tokens)})


def _several(
    request: ClassifyRequest,
    result: ClassifyResult,
    found: Callable[[tuple[str, ...], Answer], dict[str, Any]],
    nothing: dict[str, Any],
) -> Rendered:
    labels = labels_of(request, result)
    failed = {each.index: error_of(each.failure) for each in result.failed}
    results = []
    for index, answers in enumerate(result.answers):
        if index in failed:
            error = _said_of(index, failed[index], request)
            results.append({**nothing, "tokens": 0, "error": error, "cache": {"hit": False}})
            continue
        results.append({
            **found(labels, answers[0]),
            "tokens": result.item_tokens[index] if result.item_tokens else 0,
            **_visual(result, index),
            "cache": {"hit": result.has_cached(index)},
        })  # fmt: skip
    tokens = result.usage.total_tokens
    body = {
        "results": results,
        "total_tokens": tokens,
        "latency_ms": round(result.latency_ms, 1),
    }
    return Rendered(body=body, headers={"X-Tokens-Used": str(tokens)})


def _said_of(index: int, error: PigeonholeError, request: ClassifyRequest) -> str:
    """What is wrong with one of several texts, or with the media beside all of them."""
    if not error.fields and (media := request.shared_media) is not None:
        return f"{'image' if media.file is None else 'file'}: {error.detail}"
    if not error.fields:
        return f"texts[{index}]: {error.detail}"
    return own_error(error, texts=True).detail


def _visual(result: ClassifyResult, index: int) -> dict[str, int]:
    tokens = result.visual_tokens[index] if result.visual_tokens else 0
    return {"visual_tokens": tokens} if tokens else {}
