from __future__ import annotations

from typing import Any

import pytest

from api.schemas import body
from api.schemas.classifier import (
    ClassifierAnswer,
    ClassifierRow,
    VersionList,
    parse_change,
    render_classifier,
    render_row,
    render_versions,
)
from shared.errors import InvalidRequest
from shared.training_results import VersionReport
from tests.classifiers import BEGAN, PROGRESSIVE, REMARK, a_record


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ({"name": None}, {"name"}),
        ({"description": ""}, {"description"}),
        ({"aliases": {}}, {"aliases"}),
        ({"keep_examples": False, "access": "private"}, {"keep_examples", "access"}),
    ],
)
def test_a_change_is_of_what_was_said_and_of_nothing_else(said: dict[str, Any], given: set[str]):
    assert parse_change(said).given == given


def test_all_faults_of_a_change_are_named():
    with pytest.raises(InvalidRequest) as caught:
        parse_change({"nmae": "x", "access": 1, "aliases": {"a": "1"}})

    assert {fault.field for fault in caught.value.fields} == {"nmae", "access", "aliases[a]"}
    assert "and 2 more" in caught.value.detail


@pytest.mark.parametrize("progressive", [PROGRESSIVE, None])
def test_what_is_rendered_is_what_is_documented(progressive: Any):
    record = a_record(name="spam", versions=2)
    report = VersionReport(
        labels=("x", "y"), counts=(1, 2), progressive=progressive, remarks=(REMARK,)
    )
    used: dict[str, Any] = {"used_number": 3, "used_at": BEGAN}

    rendered = {
        ClassifierRow: render_row(record, **used),
        VersionList: render_versions(record),
        ClassifierAnswer: render_classifier(record, record.versions[0], report, **used),
    }

    for shape, value in rendered.items():
        assert set(value) == set(shape.model_fields)
        shape.model_validate_json(body.dump(value), strict=True)
