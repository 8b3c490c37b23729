from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import ids
from shared.errors import InvalidRequest

TIMES = st.integers(min_value=0, max_value=2**47)


@given(TIMES, TIMES, st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1))
def test_job_ids_sort_newest_first(one: int, other: int, salt: int, pepper: int):
    if one > other:
        assert ids.job_id(one, salt) < ids.job_id(other, pepper)


@given(TIMES, st.integers(0, 2**80 - 1))
def test_a_job_id_is_recognised(now_ms: int, entropy: int):
    assert ids.is_job_id(ids.job_id(now_ms, entropy))


@pytest.mark.parametrize(
    "text", ["", "job_", "job_../../keys", "JOB_" + "0" * 26, "job_" + "o" * 26]
)
def test_other_text_is_no_job_id(text: str):
    assert not ids.is_job_id(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("spam", ("spam", None, None)),
        ("spam@v3", ("spam", 3, None)),
        ("spam@champion", ("spam", None, "champion")),
    ],
)
def test_references_to_classifiers(text: str, parsed: tuple[str, int | None, str | None]):
    assert ids.parse_ref(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "a b", "spam@", "spam@v0", "spam@Champion!", "@v1", "x" * 129]
)
def test_what_is_no_reference_is_refused_with_the_field(text: str):
    with pytest.raises(InvalidRequest) as caught:
        ids.parse_ref(text, field="classifier")

    assert caught.value.fields[0].field == "classifier"


def test_nothing_is_older_than_a_time_before_1970():
    assert ids.job_id(-(10**12), 0) >= ids.job_id(0, 0)
    assert ids.file_id(-1, 0) == ids.file_id(0, 0)
