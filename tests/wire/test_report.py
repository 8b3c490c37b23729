from __future__ import annotations

from shared.dialects.report import render_metrics, render_remark
from shared.types import Remark


def test_a_remark_names_the_items_as_far_as_a_reader_reads():
    remark = Remark(
        kind="conflicting_duplicates", labels=("a", "b", "c"), items=tuple(range(14)), value=1.0
    )

    rendered = render_remark(remark)

    assert rendered["message"].startswith(
        "Items 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4 more say the same, "
        "but are labelled 'a', 'b' and 'c': "
    )
    assert rendered["items"] == tuple(range(14))


def test_a_long_label_is_cut_in_a_sentence():
    remark = Remark(kind="few_examples", labels=("x" * 200,), value=2.0)

    message = render_remark(remark)["message"]

    assert len(message) < 100
    assert "only 2 examples" in message


def test_what_no_examples_made_has_no_metrics():
    assert render_metrics(None) is None
