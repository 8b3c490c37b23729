"""The models that an answer names: of each item, and of the whole call in `X-Model`."""

from __future__ import annotations

import pytest

from api.http.model_header import model_header
from shared.dialects import native
from shared.model_catalogue import Catalogue, ModelEntry
from shared.types import (
    Answer,
    ClassifyRequest,
    ClassifyResult,
    FileBy,
    FileRead,
    Item,
    Media,
    Question,
    Usage,
)

CATALOGUE = Catalogue(
    [
        ModelEntry(name="texts", aliases=("alias",), engine="sentence"),
        ModelEntry(name="wide", engine="sentence"),
        ModelEntry(name="images", engine="open_clip"),
    ],
    default="texts",
)


def named(
    *by: FileBy | None, item_models: tuple[str, ...] = (), **asked: object
) -> tuple[str, list[str | None]]:
    """`X-Model`, and the model of each item; of a document what it was judged by, of a text None"""
    items = tuple(Item(text="a") if b is None else Item(file=Media(data="x")) for b in by)
    request = ClassifyRequest.model_validate(
        {"model": "texts", "items": items, "questions": (Question(labels=("x", "y")),), **asked}
    )
    files = tuple(
        FileRead(index=i, kind="pdf", total_pages=1, pages=1, by=b, scanned=b == "pages")
        for i, b in enumerate(by)
        if b is not None
    )
    answers = ((Answer(best=0, scores=(0.9, 0.1)),),) * len(items)
    result = ClassifyResult(answers=answers, usage=Usage(), files=files, item_models=item_models)
    body = native.render(request, result).body
    header = model_header(request, CATALOGUE, result)["X-Model"]
    return header, [row.get("model") for row in body["data"]]


@pytest.mark.parametrize(
    ("by", "header", "models"),
    [
        (("pages",), "images", ["images"]),
        (("text",), "texts", [None]),
        (("both",), "texts, images", ["texts, images"]),
        ((None, "pages", "text"), "texts, images", [None, "images", None]),
    ],
)
def test_a_scan_is_answered_by_the_model_that_reads_its_pages(
    by: tuple[FileBy | None, ...], header: str, models: list[str | None]
):
    assert named(*by, pages_model="images") == (header, models)


def test_of_auto_each_item_names_its_own():
    auto = {"multilingual_model": "wide", "pages_model": "images"}
    assert named(None, None, "pages", item_models=("wide", "texts", "texts"), **auto) == (
        "wide, texts, images", ["wide", None, "images"],
    )  # fmt: skip


def test_an_alias_is_called_by_the_name_of_its_model():
    assert named(None, model="alias") == ("texts", [None])


def test_before_the_answer_the_header_says_what_the_request_says():
    request = ClassifyRequest(model="texts", items=(Item(text="a"),), multilingual_model="wide")
    assert model_header(request, CATALOGUE) == {"X-Model": "auto"}
    plain = request.model_copy(update={"multilingual_model": None, "model": "alias"})
    assert model_header(plain, CATALOGUE) == {"X-Model": "texts"}
