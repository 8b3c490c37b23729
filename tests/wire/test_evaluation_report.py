from __future__ import annotations

from shared.dialects.evaluation_report import render_metrics, render_remark
from shared.training_results import TrainingWarning
from tests.classifiers import PROGRESSIVE


def test_a_remark_names_the_items_as_far_as_a_reader_reads():
    remark = TrainingWarning(
        kind="conflicting_duplicates", labels=("a", "b", "c"), items=tuple(range(14)), value=1.0
    )

    rendered = render_remark(remark)

    assert rendered["message"].startswith(
        "Items 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4 more say the same, "
        "but are labelled 'a', 'b' and 'c': "
    )
    assert rendered["items"] == tuple(range(14))


def test_a_long_label_is_cut_in_a_sentence():
    remark = TrainingWarning(kind="few_examples", labels=("x" * 200,), value=2.0)

    message = render_remark(remark)["message"]

    assert len(message) < 100
    assert "only 2 examples" in message


def test_what_no_examples_made_has_no_metrics():
    assert render_metrics(None) is None


def curve_of(*calls: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    """The curve that is rendered of some calls, the last of which is asked for."""
    *before, last = (PROGRESSIVE.model_copy(update={"curve": curve}) for curve in calls)
    rendered = render_metrics(last, before=before)
    assert rendered is not None
    return [(point["examples"], point["accuracy"]) for point in rendered["learning_curve"]]


def test_a_curve_goes_through_the_calls_by_their_examples():
    first, second = ((0, 0.4), (90, 0.7)), ((100, 0.72), (150, 0.8))

    assert curve_of(second) == [*second]
    assert curve_of(first, second) == [*first, *second]


def test_of_as_many_examples_the_later_call_is_shown():
    assert curve_of(((0, 0.4), (9, 0.7)), ((0, 0.5), (18, 0.8))) == [(0, 0.5), (9, 0.7), (18, 0.8)]


def test_a_call_of_one_example_gives_one_point():
    assert curve_of(((59, 0.0), (59, 1.0))) == [(59, 1.0)]
    assert curve_of(((59, 1.0), (59, 1.0)), ((60, 1.0), (60, 1.0))) == [(59, 1.0), (60, 1.0)]
