"""Types of the result columns in Parquet output.

The fields are those of `shared.dialects.classify_response`: a nested column holds what a line of
JSON holds.

    predictions         list<struct<label: text, score: number>>
    predictions_{group} the same, where the labels have groups: one column for each
    file                struct<kind, total_pages, pages_read, read_by, scanned>, and with `per_page`
                        `pages`: list<struct<prediction, score, predictions>>, in which each field
                        is a struct by group where the labels have groups
"""

from __future__ import annotations

from shared.types import ClassifyRequest
from workers.inputs.tables.output_columns import ListOf, Scalar, Struct, Type

PREDICTIONS = ListOf(Struct((("label", "text"), ("score", "number"))))
_SCALARS: dict[str, Scalar] = {
    "score": "number",
    "margin": "number",
    "uncertain": "boolean",
    "fit": "number",
    "cached": "boolean",
    "classifier": "integer",  # the number of its version
}
_FILE: tuple[tuple[str, Type], ...] = (
    ("kind", "text"),
    ("total_pages", "integer"),
    ("pages_read", "integer"),
    ("read_by", "text"),
    ("scanned", "boolean"),
)
_OF_PAGES = ("prediction", "score", "predictions")


def type_of(field: str, ask: ClassifyRequest) -> Type:
    """The type of a field of a line, for one group.

    Args:
        field: such as `score`, or `file`.
        ask: what is asked of each row.

    >>> type_of("score", ClassifyRequest(model="m", items=()))
    'number'
    """
    if field == "file":
        pages = (("pages", ListOf(_page_type(ask))),) if ask.files.per_page else ()
        return Struct((*_FILE, *pages))
    if field == "predictions":
        return PREDICTIONS
    return _SCALARS.get(field, "text")


def _page_type(ask: ClassifyRequest) -> Struct:
    """The type of the answers of one page."""
    types = [(field, type_of(field, ask)) for field in _OF_PAGES]
    groups = [question.group for question in ask.questions if question.group is not None]
    if groups:
        types = [(field, Struct(tuple((name, each) for name in groups))) for field, each in types]
    return Struct(tuple(types))
