"""Names of the files of batches: which templates there are, and what they give."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import ids
from shared.adapters.bucket_allowlist import BucketAllowlist
from shared.adapters.object_key_rules import check_name
from shared.batches import BatchRequest, RowSource
from shared.output_names import DEFAULT, PLACEHOLDERS, fault_of, for_retry, input_name, rendered

JOB = ids.job_id(10**12, 7)
BATCH = ids.batch_id_of(JOB)
AT = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
OUT = BucketAllowlist.of("s3://outbox", field="output_url", setting="S")


def a_batch(**changes: object) -> BatchRequest:
    source = RowSource(object="file-1", filename="Tickets.csv.gz")
    return BatchRequest(model="m", source=source).model_copy(update=changes)


def names(batch: BatchRequest) -> list[str]:
    kinds = ("output", "errors")
    return [batch.file_name(kind, job_id=JOB, created_at=AT) for kind in kinds]  # type: ignore[arg-type]


def test_without_a_template_they_are_called_by_the_batch():
    assert names(a_batch(output_format="csv")) == [f"{BATCH}_output.csv", f"{BATCH}_errors.jsonl"]


def test_placeholders_stand_for_the_batch_its_input_and_its_day_in_utc():
    template = "{input_name}/dt={date}/{kind}-{batch_id}.{ext}"

    assert names(a_batch(output_name=template, output_format="parquet")) == [
        f"Tickets/dt=2025-12-31/output-{BATCH}.parquet",
        f"Tickets/dt=2025-12-31/errors-{BATCH}.jsonl",
    ]


def test_a_retry_takes_the_place_of_no_other_file():
    batch = a_batch(output_name="{input_name}_{kind}.{ext}")

    assert names(batch) == ["Tickets_output.jsonl", "Tickets_errors.jsonl"]
    assert names(batch.model_copy(update={"retry_of": "job_1"})) == [
        f"Tickets_output_{BATCH}.jsonl",
        f"Tickets_errors_{BATCH}.jsonl",
    ]


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (DEFAULT, DEFAULT),
        ("{kind}.csv", "{kind}_{batch_id}.csv"),
        ("a/{kind}.{ext}", "a/{kind}_{batch_id}.{ext}"),
        ("v1.2/{kind}", "v1.2/{kind}_{batch_id}"),
        (".{kind}", ".{kind}_{batch_id}"),
        ("a/.{ext}", "a/.{ext}_{batch_id}"),
    ],
)
def test_the_name_of_a_retry_keeps_its_ending(template: str, found: str):
    assert for_retry(template) == found


@pytest.mark.parametrize(
    ("url", "filename", "found"),
    [
        ("", "rows.jsonl", "rows"),
        ("", "Rows 2026.tar.csv.zst", "Rows 2026.tar"),
        ("", "rows", "rows"),
        ("", ".csv", "input"),
        ("", "..", "input"),
        ("", "", "input"),
        ("", "a/b\\c\n{kind}.csv", "a_b_c__kind_"),
        ("", "é" * 300 + ".csv", "é" * 100),
        ("s3://lake/in/tickets.parquet", "", "tickets"),
        ("s3://lake/in/v1.2/", "", "v1.2"),
        ("s3://lake/", "", "lake"),
    ],
)
def test_what_an_input_is_called(url: str, filename: str, found: str):
    assert input_name(url=url, filename=filename) == found


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "1 to 256 characters"),
        ("x" * 257, "1 to 256 characters"),
        (
            "{name}",
            "unknown placeholder {name}; supported are {batch_id}, {input_name}, {date}, {kind}, "
            "{ext}",
        ),
        ("{}", "unknown placeholder {}; supported are"),
        ("{date!r}", "unknown placeholder {date!r}; supported are"),
        ("{date:>99}", "unknown placeholder {date:>99}; supported are"),
        ("{{date}}", "unmatched brace"),
        ("{date", "unmatched brace"),
        ("date}", "unmatched brace"),
        ("/{kind}", "empty, '.' or '..' segments"),
        ("{kind}/", "empty, '.' or '..' segments"),
        ("a//{kind}", "empty, '.' or '..' segments"),
        ("../{kind}", "empty, '.' or '..' segments"),
        ("a\n{kind}", "control characters"),
    ],
)
def test_what_is_no_template_has_a_fault(template: str, says: str):
    assert says in str(fault_of(template))


@given(
    st.lists(st.sampled_from([*(f"{{{name}}}" for name in PLACEHOLDERS), ".", "/", "a", "ü", "="])),
    st.text(),
)
def test_a_template_without_a_fault_gives_a_name_that_a_store_takes(said: list[str], file: str):
    template = "".join(said)
    if fault_of(template) is not None:
        return

    name = rendered(
        template,
        batch_id=BATCH,
        input_name=input_name(url="", filename=file),
        date="2026-01-01",
        kind="output",
        ext="csv",
    )

    if len(name.encode()) <= 512:
        check_name(name)
        assert OUT.find(f"s3://outbox/{name}").key == name
