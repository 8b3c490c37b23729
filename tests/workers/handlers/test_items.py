"""Texts, images and documents in one request: what each is judged by, and what fails alone."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest, PigeonholeError, TokenLimitExceeded, UnreadableInput
from shared.types import (
    Answer,
    ClassifyRequest,
    ClassifyResult,
    Example,
    FailedItem,
    Failure,
    FileReading,
    Item,
    Media,
    NewClassifier,
    Priority,
    Question,
    TrainRequest,
)
from tests.fake_media import BROKEN, CUTS, NOTHING, SCAN
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import a_job, hold
from workers.handlers.pending_classification import answered
from workers.work_context import WorkContext

LABELS = ("red", "green", "blue")


def image(*colours: str) -> Item:
    return Item(images=tuple(Media(data=colour) for colour in colours))


def file(pages: str) -> Item:
    return Item(file=Media(data=pages))


def written(*pages: str) -> Item:
    """A text, whose pages are cuts."""
    return file(CUTS + "|".join(pages))


def asked(*items: Item, **files: object) -> ClassifyRequest:
    return ClassifyRequest(
        model="tiny",
        items=items,
        questions=(Question(labels=LABELS),),
        files=FileReading.model_validate(files),
    )


def result_of(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    pending = bench.classify.begin(request, WorkContext(priority=Priority.STANDARD))
    return pending.result(timeout_s=10)


def best(answers: tuple[Answer, ...]) -> str | None:
    (answer,) = answers
    return None if answer.best is None else LABELS[answer.best]


def said(result: ClassifyResult) -> list[str | None]:
    return [best(answers) if answers else None for answers in result.answers]


class TestImages:
    def test_a_image_is_classified(self, bench: Bench):
        result = result_of(bench, asked(image("red"), image("blue")))

        assert said(result) == ["red", "blue"]
        assert result.usage.input_tokens == 2 * 2_000  # 300 x 200 are two tiles
        assert result.usage.visual_tokens == 2 * 2_000

    def test_texts_and_images_together(self, bench: Bench):
        result = result_of(bench, asked(Item(text="green"), image("red"), Item(text="blue")))

        assert said(result) == ["green", "red", "blue"]
        assert result.usage.input_tokens == 1 + 2_000 + 1
        assert result.usage.visual_tokens == 2_000

    def test_images_have_the_scale_of_the_model_and_texts_their_own(self, bench: Bench):
        text, shown = result_of(bench, asked(Item(text="red"), image("red"))).answers

        assert text[0].scores != shown[0].scores

    def test_several_images_of_one_thing_are_one_item(self, bench: Bench):
        result = result_of(bench, asked(image("red", "red", "blue"), image("red", "blue")))

        assert len(result.answers) == 2
        both = result.answers[1][0].scores
        assert both[0] == pytest.approx(both[2], abs=1e-3)
        assert result.usage.input_tokens == 2 * 4_000  # the same image is read once

    def test_the_same_image_runs_once(self, bench: Bench):
        result_of(bench, asked(*[image("red")] * 5))

        assert bench.colours.ran == 1

    def test_one_that_cannot_be_read_fails_alone_in_a_batch(self, bench: Bench):
        result = result_of(bench, asked(image("red"), image("nonsense"), Item(text="blue")))

        assert said(result) == ["red", None, "blue"]
        (failed,) = result.failed
        assert (failed.index, failed.failure.code) == (1, "INPUT_UNREADABLE")
        assert result.usage.input_tokens == 2_001

    def test_one_that_cannot_be_read_refuses_the_request(self, bench: Bench):
        request = asked(image("nonsense"), image("red", "blue"))

        with pytest.raises(UnreadableInput) as caught:
            answered(request, result_of(bench, request))

        assert caught.value.fields[0].field == "input[0].image"

    def test_a_model_of_texts_refuses_them(self):
        bench = Bench(reads_images=False)
        try:
            with pytest.raises(InvalidRequest) as caught:
                result_of(bench, asked(Item(text="red"), image("red")))
            assert caught.value.fields[0].field == "input[1].image"
        finally:
            bench.close()

    def test_a_dead_model_is_nobodys_image(self, bench: Bench):
        bench.image_batcher.close()

        with pytest.raises(PigeonholeError) as caught:
            result_of(bench, asked(image("red")))

        assert caught.value.outage


class TestErrorsPerItem:
    """`errors` says whether a bad item fails alone."""

    def test_every_bad_item_fails_alone_and_costs_nothing(self, bench: Bench):
        failure = Failure(code="VALIDATION_ERROR", detail="input[1].text: must not be empty")
        request = asked(
            Item(text="red"), Item(), Item(text="blue " * 51), image("bad"), image("green")
        )
        request = request.model_copy(
            update={"errors": "per_item", "refused": (FailedItem(index=1, failure=failure),)}
        )

        result = answered(request, result_of(bench, request))

        assert said(result) == ["red", None, None, None, "green"]
        codes = {each.index: each.failure.code for each in result.failed}
        assert codes == {
            1: "VALIDATION_ERROR",
            2: "INPUT_TOKEN_LIMIT_EXCEEDED",
            3: "INPUT_UNREADABLE",
        }
        assert result.usage.input_tokens == 1 + 2_000

    def test_texts_alone_too(self, bench: Bench):
        request = asked(Item(text="blue " * 51), Item(text="green"))

        result = result_of(bench, request.model_copy(update={"errors": "per_item"}))

        assert said(result) == [None, "green"]
        assert result.usage.input_tokens == 1

    def test_where_every_item_is_bad_each_says_why(self, bench: Bench):
        request = asked(Item(text="blue " * 51), image("bad"))
        request = request.model_copy(update={"errors": "per_item"})

        result = answered(request, result_of(bench, request))

        assert [each.index for each in result.failed] == [0, 1]
        assert result.usage.input_tokens == 0

    def test_a_model_of_texts_answers_the_texts(self):
        bench = Bench(reads_images=False)
        try:
            request = asked(Item(text="red"), image("red"))
            result = result_of(bench, request.model_copy(update={"errors": "per_item"}))
            assert said(result) == ["red", None]
        finally:
            bench.close()

    def test_a_job_of_an_earlier_version_without_a_choice_has_the_default(self):
        stored = asked(Item(text="red")).model_dump() | {"errors": None}

        assert ClassifyRequest.model_validate(stored).errors == "fail"


class TestDocuments:
    def test_text_is_judged_by_the_text(self, bench: Bench):
        result = result_of(bench, asked(file("red|red|blue")))

        assert said(result) == ["red"]
        (read,) = result.files
        assert (read.by, read.pages, read.total_pages, read.scanned) == ("text", 3, 3, False)
        assert result.usage.input_tokens == 3

    def test_a_scan_is_judged_by_its_pages_and_says_so(self, bench: Bench):
        result = result_of(bench, asked(file(f"{SCAN}blue|blue|red")))

        assert said(result) == ["blue"]
        assert (result.files[0].by, result.files[0].scanned) == ("pages", True)
        assert result.usage.input_tokens == 3 * 1_000

    def test_both_is_the_mean_of_the_scores(self, bench: Bench):
        scores = {
            by: result_of(bench, asked(file("red|blue"), by=by)).answers[0][0].scores
            for by in ("text", "pages", "both")
        }

        for text, pages, both in zip(*scores.values(), strict=True):
            assert both == pytest.approx((text + pages) / 2, abs=1e-5)

    def test_each_page_by_itself(self, bench: Bench):
        result = result_of(bench, asked(file("red|green|blue"), per_page=True))

        assert [best(page) for page in result.files[0].answers] == ["red", "green", "blue"]

    def test_a_page_with_nothing_on_it_has_no_answer(self, bench: Bench):
        result = result_of(bench, asked(file("red||blue"), by="text", per_page=True))

        assert [best(page) if page else None for page in result.files[0].answers] == [
            "red",
            None,
            "blue",
        ]

    def test_only_so_many_pages(self, bench: Bench):
        result = result_of(bench, asked(file("red|blue|blue|blue"), max_pages=1))

        assert (said(result), result.files[0].pages, result.files[0].total_pages) == (["red"], 1, 4)

    def test_what_cannot_be_seen_or_read_is_left_out_of_both(self, bench: Bench):
        result = result_of(
            bench, asked(file(f"{SCAN}blue|blue"), file("red"), written("red"), by="both")
        )

        assert said(result) == ["blue", "red", "red"]
        assert [read.by for read in result.files] == ["pages", "both", "text"]

    @pytest.mark.parametrize("by", ["auto", "text", "pages", "both"])
    def test_one_with_nothing_in_it_is_empty(self, bench: Bench, by: str):
        result = result_of(bench, asked(file(NOTHING), Item(text="red"), by=by))

        (failed,) = result.failed
        assert failed.failure.detail == "is empty: it has neither text nor images"

    @pytest.mark.parametrize(
        ("unread", "why"),
        [
            ("metafile", "that can be read. Images that are broken were not read: 1."),
            ("more pages", "where it was read. Page 1 was not read: the limit is 0 pages."),
        ],
    )
    def test_one_that_is_not_read_whole_is_not_called_empty(
        self, bench: Bench, unread: str, why: str
    ):
        result = result_of(bench, asked(file(f"{NOTHING}{unread}"), Item(text="red"), by="both"))

        (failed,) = result.failed
        assert failed.failure.detail == f"has neither text nor images {why}"

    def test_a_text_that_only_looks_like_pages_is_read_behind_the_most(self, bench: Bench):
        result = result_of(
            bench, asked(written("red", *["blue"] * 200), per_page=True, max_pages=2)
        )

        (read,) = result.files
        assert said(result) == ["blue"]
        assert (read.pages, read.total_pages) == (201, 201)
        assert [best(page) for page in read.answers] == ["red", "blue"]

    def test_long_text_is_read_whole(self, bench: Bench):
        result = result_of(bench, asked(file(" ".join(["red"] * 2_000))))

        assert (said(result), result.windowed) == (["red"], (0,))
        assert result.usage.input_tokens == 2_000  # a text of its own may have 50 here

    @pytest.mark.slow
    def test_but_not_without_end(self, bench: Bench):
        result = result_of(
            bench, asked(Item(text="red"), file("red " * (bench.limits.max_document_tokens + 1)))
        )

        (failed,) = result.failed
        assert failed.failure.code == TokenLimitExceeded.code

    def test_a_model_of_texts_reads_text_and_refuses_scans(self):
        bench = Bench(reads_images=False)
        try:
            result = result_of(bench, asked(file("red"), file(f"{SCAN}red")))
            assert said(result) == ["red", None]
            assert "name a model that reads images" in result.failed[0].failure.detail
            with pytest.raises(InvalidRequest):
                result_of(bench, asked(file("red"), by="both"))
        finally:
            bench.close()

    @pytest.mark.parametrize(("pages", "by"), [(BROKEN, "auto"), (f"{SCAN}red", "text")])
    def test_one_that_cannot_be_read_fails_alone(self, bench: Bench, pages: str, by: str):
        result = result_of(bench, asked(Item(text="red"), file(pages), by=by))

        assert said(result) == ["red", None]
        assert result.failed[0].index == 1


class TestLearning:
    def train(self, bench: Bench, *examples: tuple[Item, str]) -> tuple[str, int]:
        body = TrainRequest(
            model="tiny",
            classifier_id="00000000-0000-4000-8000-000000000001",
            create=NewClassifier(),
            num_iters=3,
            examples=tuple(Example(item=item, label=label) for item, label in examples),
        )
        made = bench.train.train(a_job(), body, hold())
        return made.classifier_id, made.usage.train_tokens

    def test_images_documents_and_texts(self, bench: Bench):
        classifier, tokens = self.train(
            bench,
            (image("red"), "warm"),
            (image("blue"), "cold"),
            (file("red red"), "warm"),
            (Item(text="blue"), "cold"),
        )
        record, _ = bench.classifiers.records.load("acme", classifier)
        request = asked(image("red"), image("blue"), Item(text="red")).model_copy(
            update={"questions": (), "classifier": record.weights(record.latest)}
        )

        result = result_of(bench, request)

        assert tokens == 3 * (2_000 + 2_000 + 2 + 1)
        labels = result.labels or ()
        assert [labels[a[0].best or 0] for a in result.answers] == ["warm", "cold", "warm"]

    def test_what_cannot_be_read_is_named_and_nothing_is_learnt(self, bench: Bench):
        with pytest.raises(InvalidRequest) as caught:
            self.train(bench, (image("red"), "a"), (image("no"), "b"), (file(BROKEN), "b"))

        assert [each.field for each in caught.value.fields] == ["input[1].image", "input[2].file"]
        assert not list(bench.store.list("classifiers/"))
