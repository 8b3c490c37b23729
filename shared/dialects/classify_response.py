"""The result of an item as JSON: the same in a response and in a line of a batch.

An item has an answer for each question. If questions have groups, each field is an object by group.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared.dialects.evaluation_report import render_alike
from shared.dialects.protocol import Rendered
from shared.types import (
    Answer,
    ClassifierVersion,
    ClassifyRequest,
    ClassifyResult,
    Failure,
    FileRead,
    Item,
    Question,
    Usage,
)

# Of two labels, one that leads by less has a score below 0.6; as scores are calibrated, it is wrong
# in more than 2 of 5 such cases, which makes a second look worth its time.
UNCERTAIN_MARGIN = 0.2

Questions = tuple[Question, ...]


class ScoredLabel(msgspec.Struct, gc=False):
    """A label and its score; an answer may hold 262,144, so they are lighter than dicts."""

    label: str
    score: float


def render(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of dialects of `input`: (N, L) scores as N rows of at most L predictions."""
    questions = request.questions
    if result.labels is not None:
        questions = (Question(labels=result.labels),)
    failed = {each.index: each.failure for each in result.failed}
    data: list[dict[str, Any]] = [
        {
            "object": "classification",
            "index": i,
            **(
                unread(questions, failed[i], place_of(i, request.items[i]))
                if i in failed
                else found(questions, answers)
            ),
        }
        for i, answers in enumerate(result.answers)
    ]
    for index in result.windowed:
        data[index]["truncated"] = False
    for file in result.files:
        data[file.index]["file"] = read(questions, file)
        if file.pages < file.total_pages:
            data[file.index]["truncated"] = True
    if result.cache is not None:
        for index, row in enumerate(data):
            row["cached"] = result.has_cached(index)
    body: dict[str, Any] = {"usage": _tokens(result.usage), "data": data}
    if request.engine is not None:
        body["engine"] = request.engine
    if request.classifier is not None:
        body["classifier"] = version_of(request.classifier)
    if result.alike:
        body["warnings"] = [render_alike(alike) for alike in result.alike]
    return Rendered(body=body)


def version_of(classifier: ClassifierVersion) -> dict[str, Any]:
    """The version of a classifier that answered."""
    return {"id": classifier.classifier_id, "version": classifier.version}


def found(questions: Questions, answers: tuple[Answer, ...]) -> dict[str, Any]:
    """The prediction of an item, its score, and all labels that stay; what else was asked.

    >>> answer = Answer(scores=(0.25, 0.75), best=1)
    >>> fields = found((Question(labels=("a", "b")),), (answer,))
    >>> fields["prediction"], fields["score"]
    ('b', 0.75)
    """
    return {
        **_rows(questions, answers),
        **_doubt(questions, answers),
        **_fit(questions, answers),
    }


def nothing(questions: Questions) -> dict[str, Any]:
    """An answer without any."""
    if questions[0].group is None:
        return {"prediction": None, "score": None, "predictions": []}
    no_label = {question.group: None for question in questions}
    return {
        "prediction": no_label,
        "score": no_label,
        "predictions": {question.group: [] for question in questions},
    }


def models_of(request: ClassifyRequest, result: ClassifyResult) -> tuple[tuple[str, ...], ...]:
    """The models of each item: two if a document was judged by its text and by its pages, none if
    the item has no answer.
    """
    named = result.item_models or (request.model,) * len(result.answers)
    models = [
        (model,) if model and answers else ()
        for model, answers in zip(named, result.answers, strict=True)
    ]
    if (pages := request.pages_model) is not None:
        for file in result.files:
            if file.by != "text":
                models[file.index] = (
                    (pages,) if file.by == "pages" else (*models[file.index], pages)
                )
    return tuple(models)


def place_of(index: int, item: Item) -> str:
    """The field path of the text, image or document of an item."""
    return f"input[{index}].{'image' if item.images else 'file' if item.file else 'text'}"


def unread(questions: Questions, failure: Failure, place: str) -> dict[str, Any]:
    """What stands where the answer of an item would, if it had one; `place` as of `place_of`."""
    field = failure.fields[0][0] if failure.fields else place
    error = {"code": failure.code, "message": failure.detail, "field": field}
    return {**nothing(questions), "error": error}


def read(questions: Questions, file: FileRead) -> dict[str, Any]:
    """What was read of a document, and what each page was found to be, if that was asked."""
    fields: dict[str, Any] = {
        "kind": file.kind,
        "total_pages": file.total_pages,
        "pages_read": file.pages,
        "read_by": file.by,
        "scanned": file.scanned,
    }
    if file.answers:
        fields["pages"] = [
            _rows(questions, answers) if answers else nothing(questions) for answers in file.answers
        ]
    return fields


def _tokens(usage: Usage) -> dict[str, int]:
    return {"total_tokens": usage.total_tokens, "prompt_tokens": usage.total_tokens}


def _rows(questions: Questions, answers: tuple[Answer, ...]) -> dict[str, Any]:
    if questions[0].group is None:
        return _row(questions[0], answers[0])
    rows = {q.group: _row(q, each) for q, each in zip(questions, answers, strict=True)}
    return {
        field: {group: row[field] for group, row in rows.items()}
        for field in ("prediction", "score", "predictions")
    }


def _row(question: Question, answer: Answer) -> dict[str, Any]:
    labels, best = question.labels, answer.best
    predictions = [
        ScoredLabel(label, score)
        for label, score in zip(labels, answer.scores, strict=True)
        if score is not None
    ]
    return {
        "prediction": None if best is None or answer.unknown else labels[best],
        "score": None if best is None else answer.scores[best],
        "predictions": predictions,
    }


def _doubt(questions: Questions, answers: tuple[Answer, ...]) -> dict[str, Any]:
    """How close the second was; empty where the request did not ask."""
    margins = {q.group: each.margin for q, each in zip(questions, answers, strict=True)}
    if all(margin is None for margin in margins.values()):
        return {}
    uncertain = {
        group: margin is not None and margin < UNCERTAIN_MARGIN for group, margin in margins.items()
    }
    if questions[0].group is None:
        return {"margin": margins[None], "uncertain": uncertain[None]}
    return {"margin": margins, "uncertain": uncertain}


def _fit(questions: Questions, answers: tuple[Answer, ...]) -> dict[str, Any]:
    """How typical the item is of anything described; empty where the request did not ask."""
    fits = {q.group: each.fit for q, each in zip(questions, answers, strict=True)}
    if all(fit is None for fit in fits.values()):
        return {}
    return {"fit": fits[None] if questions[0].group is None else fits}
