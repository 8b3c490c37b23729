"""Batches on in-memory ports: planned, worked through, put together, whatever happens meanwhile."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.schemas import body
from shared import ids, object_keys
from shared.batches import (
    BadRow,
    BatchInputs,
    BatchRequest,
    BatchResult,
    ColumnMapping,
    Plan,
    RowSource,
    StoredFile,
)
from shared.dialects import native
from shared.errors import LeaseLost, ObjectMissing
from shared.jobs import Cancel, Job, Lapse, State, advance
from shared.messages import CONTROL, Submission, decode
from shared.ports import PLAN, Claim
from shared.types import ClassifyRequest, Item, Priority, Question
from tests.workers.conftest import QUEUE, Bench
from tests.workers.handlers.test_train import a_job, creation, hold
from workers.handlers.batch.output_lines import bad_line
from workers.handlers.batch.part_rows import PartRow
from workers.work_context import WorkContext

ME = "acme"
LABELS = ["red", "green"]
ASK = ClassifyRequest(model="tiny", items=(), questions=(Question(labels=("red", "green")),))


def a_batch(bench: Bench, data: bytes, **changes: Any) -> Job:
    """An accepted batch over a file of these bytes."""
    file = ids.file_id(10**12, ids.random_bits())
    bench.store.put(object_keys.file_content(ME, file), data)
    said = changes.pop("rows", {"id_column": "id"})
    rows = None if said is None else ColumnMapping(**{"ask": ASK, **said})
    body = BatchRequest(
        model="tiny",
        source=RowSource(
            object=file,
            filename=changes.pop("filename", "rows.jsonl"),
            skip_rows=changes.pop("skip_rows", 0),
        ),
        rows=rows,
        output_file=ids.file_id(10**12, ids.random_bits()),
        error_file=ids.file_id(10**12, ids.random_bits()),
        **changes,
    )
    return bench.submit(body)


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def run_all(bench: Bench, *, most: int = 10_000) -> None:
    """Do whatever is ready, until nothing is."""
    for _ in range(most):
        claims = [
            claim
            for queue in (CONTROL, QUEUE)
            for claim in bench.ledger.claim(queue, None, calls=0, parts=1, lease_s=30).claims
        ]
        if not claims:
            return
        for claim in claims:
            bench.parts.run(claim)
    raise AssertionError("it does not end")


def ended(bench: Bench, job: Job) -> Job:
    return decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)


def result(bench: Bench, job: Job) -> BatchResult:
    return decode(BatchResult, bench.store.get(object_keys.result(ME, job.id)).data)


def content(bench: Bench, file: str | None) -> bytes:
    assert file is not None
    data = bench.store.get(object_keys.file_content(ME, file)).data
    assert decode(StoredFile, bench.store.get(object_keys.file(ME, file)).data).bytes == len(data)
    return data


def lines(bench: Bench, file: str | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(bench, file).splitlines()] if file else []


def test_every_row_is_answered_beside_itself(bench: Bench):
    rows = [{"id": f"r{n}", "text": f"{'red' if n % 2 else 'green'} thing {n}"} for n in range(50)]
    job = a_batch(bench, jsonl(*rows))
    run_all(bench)
    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 50, 0)
    found = lines(bench, result(bench, job).output_file)
    assert [line["id"] for line in found] == [row["id"] for row in rows]
    assert [line["row"] for line in found] == rows
    assert {line["prediction"] for line in found} == {"red", "green"}
    assert result(bench, job).error_file is None
    assert done.usage.input_tokens == 150
    assert not list(bench.store.list(object_keys.parts(ME, job.id)))
    assert not list(bench.store.list(object_keys.OPEN))


def test_many_parts_are_planned_some_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 3)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 4)
    rows = [{"id": n, "text": f"red {n}"} for n in range(100)]
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    plan = decode(Plan, bench.store.get(object_keys.plan(ME, job.id)).data)
    assert (plan.total, plan.parts, plan.rows_read) == (100, 4, 12)
    run_all(bench)
    assert [line["id"] for line in lines(bench, result(bench, job).output_file)] == [
        str(n) for n in range(100)
    ]


def test_the_output_is_read_from_several_parts_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 3)
    job = a_batch(bench, jsonl(*({"id": n, "text": f"red {n}"} for n in range(24))))
    together = threading.Barrier(8)  # the parts: each waits until all are being opened
    opened: list[str] = []
    read = type(bench.store).open

    def read_together(store: Any, name: str, **of: Any) -> Any:
        writing = threading.current_thread().name.startswith("concurrent")
        if writing and name.startswith(object_keys.parts(ME, job.id)):
            together.wait(timeout=10)
            opened.append(name)
        return read(store, name, **of)

    monkeypatch.setattr(type(bench.store), "open", read_together)
    run_all(bench)
    assert set(Counter(opened).values()) == {2}  # for its report, and for its lines
    assert [line["id"] for line in lines(bench, result(bench, job).output_file)] == [
        str(n) for n in range(24)
    ]


def test_bad_rows_are_in_the_error_file_with_their_reason(bench: Bench):
    data = b"\n".join(
        (
            b'{"id": "a", "text": "red"}',
            b"not json",
            b'{"id": "b"}',
            b'{"id": "c", "text": ""}',
            b'{"id": "a", "text": "green again"}',
            b'{"id": "d", "text": "' + b"red " * 60 + b'"}',
            b'{"id": "e", "text": "green"}',
        )
    )
    job = a_batch(bench, data)
    run_all(bench)
    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 2, 5)
    found = result(bench, job)
    assert [line["id"] for line in lines(bench, found.output_file)] == ["a", "e"]
    errors = {(e["id"], e["line"]): e["error"]["code"] for e in lines(bench, found.error_file)}
    assert errors == {
        (None, 2): "invalid_json_line",
        ("b", 3): "missing_column",
        ("c", 4): "empty_text",
        ("a", 5): "duplicate_id",
        ("d", 6): "input_token_limit_exceeded",
    }
    plan = decode(Plan, bench.store.get(object_keys.plan(ME, job.id)).data)
    assert [bad.line for bad in plan.bad] == [2, 3, 4, 5]
    assert sum(found.codes.values()) == 5


@pytest.mark.slow
def test_a_row_that_is_too_long_fails_alone_and_names_its_column(bench: Bench):
    texts = ["red", "word " * 60, "green", "word " * 61]
    job = a_batch(bench, jsonl(*({"id": n, "text": text} for n, text in enumerate(texts))))
    run_all(bench)
    found = result(bench, job)
    assert [line["id"] for line in lines(bench, found.output_file)] == ["0", "2"]
    errors = {line["id"]: line["error"] for line in lines(bench, found.error_file)}
    assert {key: (e["code"], e["param"]) for key, e in errors.items()} == {
        "1": ("input_token_limit_exceeded", "text"),
        "3": ("input_token_limit_exceeded", "text"),
    }
    assert errors["3"]["message"].startswith("has 61 tokens; at most")


def test_a_plan_stays_small_whatever_is_in_the_file(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """It is read with every look at the batch."""
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 10)
    job = a_batch(bench, jsonl(*({"id": f"r{n % 10}", "text": "red"} for n in range(20_000))))
    claim = bench.claim(CONTROL)
    bench.parts.run(claim)

    assert len(bench.store.get(object_keys.repeated_rows(ME, job.id)).data) == 20_000 / 8
    run_all(bench)

    done = ended(bench, job)
    assert (done.progress.completed, done.progress.failed) == (10, 19_990)
    assert result(bench, job).codes == {"duplicate_id": 19_990}
    assert len(bench.store.get(object_keys.plan(ME, job.id)).data) < 15_000


def test_two_planners_at_once_cut_the_same_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 7)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 3)
    rows = [{"id": f"r{n}", "text": "" if n % 5 else f"red {n}"} for n in range(300)]
    job = a_batch(bench, jsonl(*rows))
    body = decode_body(bench, job)
    planner = bench.parts.planner

    def plan(claim: Claim) -> None:
        with suppress(LeaseLost):  # the others were faster
            planner.run(claim, job, body, hold())

    for _ in range(60):
        claims = bench.ledger.claim(CONTROL, None, calls=0, parts=1, lease_s=30).claims
        for claim in claims:
            if claim.task == PLAN:
                threads = [threading.Thread(target=plan, args=(claim,)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
            bench.parts.run(claim)
        for claim in bench.ledger.claim(QUEUE, None, calls=0, parts=9, lease_s=30).claims:
            bench.parts.run(claim)
        if object_keys.job(ME, job.id) in bench.store.objects:
            break

    found = result(bench, job)
    assert [line["id"] for line in lines(bench, found.output_file)] == [
        f"r{n}" for n in range(0, 300, 5)
    ]
    assert len(lines(bench, found.error_file)) == 240


def test_two_finalisers_at_once_write_one_result(bench: Bench):
    job = a_batch(bench, jsonl(*({"id": n, "text": "red"} for n in range(30))))
    bench.parts.run(bench.claim(CONTROL))
    part = bench.claim(QUEUE)
    running = bench.ledger.record(job.id)
    assert running is not None
    report = bench.part_runner.run(part, running, decode_body(bench, job), hold())
    elected = bench.ledger.complete(part, lease_s=30, outcome=b"{}", completed=report.completed)
    assert isinstance(elected, Claim)
    failures: list[Exception] = []

    def finalise() -> None:
        try:
            bench.finaliser.run(elected)
        except (LeaseLost, ObjectMissing) as exc:
            failures.append(exc)

    threads = [threading.Thread(target=finalise) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 30, 0)
    assert len(lines(bench, result(bench, job).output_file)) == 30


def test_a_finaliser_that_comes_to_when_all_is_over_changes_nothing(bench: Bench):
    """It was frozen before it listed the parts; another has ended the batch and deleted them."""
    job = a_batch(bench, jsonl(*({"id": n, "text": "red"} for n in range(30))))
    bench.parts.run(bench.claim(CONTROL))
    part = bench.claim(QUEUE)
    running = bench.ledger.record(job.id)
    assert running is not None
    bench.part_runner.run(part, running, decode_body(bench, job), hold())
    elected = bench.ledger.complete(part, lease_s=30, outcome=b"{}", completed=30)
    assert isinstance(elected, Claim)
    listing = bench.store.list

    def thawed(prefix: str, *, after: str = "") -> Iterator[str]:
        bench.store.list = listing  # type: ignore[method-assign]
        bench.finaliser.run(elected)
        return listing(prefix, after=after)

    bench.store.list = thawed  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        bench.finaliser.run(elected)

    assert len(lines(bench, result(bench, job).output_file)) == 30
    assert ended(bench, job).progress.completed == 30
    assert bench.store.get(object_keys.done_rows(ME, job.id)).data.count(b"\xff") == 3


def test_a_part_run_twice_at_once_is_counted_once(bench: Bench):
    job = a_batch(bench, jsonl(*({"id": n, "text": "red" if n % 3 else ""} for n in range(30))))
    bench.parts.run(bench.claim(CONTROL))
    claims = []
    for _ in range(3):  # of workers that do not know yet that they have lost the part
        claims.append(bench.claim(QUEUE, lease_s=0.01))
        bench.ledger.let_pass(0.02)
        bench.ledger.reclaim_expired(attempts=9)
    claims.append(bench.claim(QUEUE))
    threads = [threading.Thread(target=bench.parts.run, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 20, 10)
    assert done.usage.input_tokens == 20
    assert len(lines(bench, result(bench, job).output_file)) == 20


def test_all_rows_bad_is_a_clear_result(bench: Bench):
    job = a_batch(bench, b"x\n" * 10)
    run_all(bench)
    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 0, 10)
    assert result(bench, job).output_file is None
    assert result(bench, job).codes == {"invalid_json_line": 10}


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\x1f\x8b broken"])
def test_a_file_that_holds_nothing_fails_with_the_reason(bench: Bench, data: bytes):
    job = a_batch(bench, data)
    run_all(bench)
    done = ended(bench, job)
    assert done.state is State.FAILED
    assert done.error is not None
    assert done.error.code == "VALIDATION_ERROR"


def test_csv_in_csv_out_with_its_own_columns(bench: Bench):
    data = 'score;text;id\r\n7;"a red\nrose";x\r\n8;green grass;y\r\n'.encode("utf-16")
    job = a_batch(bench, data, filename="rows.csv", output_format="csv")
    run_all(bench)
    table = content(bench, result(bench, job).output_file).decode()
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["text"] for row in rows] == ["a red\nrose", "green grass"]
    assert [row["score"] for row in rows] == ["7", "8"]
    assert [row["prediction"] for row in rows] == ["red", "green"]
    assert float(rows[0]["score_"]) > 0.5
    assert json.loads(rows[0]["predictions"])[0]["label"] == "red"


GROUPS = (
    Question(group="topic", labels=("red", "green")),
    Question(group="mood", labels=("happy", "sad")),
)
EACH = ("prediction", "score", "predictions", "margin", "uncertain", "fit")


def grouped(bench: Bench, kind: str) -> bytes:
    """The table of two rows, one of which has a column of the name that one of ours would have."""
    added = {"questions": GROUPS, "return_uncertainty": True, "return_fit": True}
    ask = ASK.model_copy(update=added)
    data = b"id,text,score_mood\n1,a red happy rose,mine\n2,sad green grass,too\n"
    body = BatchRequest(
        model="tiny",
        source=RowSource(object=ids.file_id(10**12, ids.random_bits()), filename="rows.csv"),
        rows=ColumnMapping(ask=ask, id_column="id"),
        output_format=kind,  # type: ignore[arg-type]
        output_file=ids.file_id(10**12, ids.random_bits()),
    )
    bench.store.put(object_keys.file_content(ME, body.source.object), data)
    job = bench.submit(body)
    run_all(bench)
    return content(bench, result(bench, job).output_file)


@pytest.mark.parametrize("escape", [True, False])
def test_texts_in_a_csv_are_no_formulas_if_that_is_asked(bench: Bench, escape: bool):
    texts = ["=1+1", "+red", "-red", "@red", "\tred", "\rred", "red-green"]
    rows = [
        {"id": n, "=text": text, "n": -1.5, "amount": "-1.234,56"} for n, text in enumerate(texts)
    ]
    job = a_batch(
        bench,
        jsonl(*rows),
        rows={"id_column": "id", "text_column": "=text"},
        output_format="csv",
        escape_formulas=escape,
    )
    run_all(bench)

    data = content(bench, result(bench, job).output_file).decode()
    head, *found = csv.reader(io.StringIO(data, newline=""))
    mark = "'" if escape else ""
    assert head[:3] == ["id", f"{mark}=text", "n"]
    assert [row[1] for row in found] == [*(mark + text for text in texts[:-1]), texts[-1]]
    assert {(row[2], row[3]) for row in found} == {("-1.5", "-1.234,56")}


def test_labels_that_mean_the_same_are_a_warning_of_the_batch(bench: Bench):
    ask = ASK.model_copy(update={"questions": (Question(labels=("rose", "leaf", "Rose")),)})
    job = a_batch(
        bench,
        jsonl({"text": "a rose"}, {"text": "a leaf"}, {"text": "red"}),
        rows={"ask": ask, "text_column": "text"},
    )
    run_all(bench)

    assert [pair.labels for pair in result(bench, job).alike] == [("rose", "Rose")]


def test_groups_have_columns_of_their_own_in_a_csv(bench: Bench):
    table = grouped(bench, "csv").decode()

    rows = list(csv.DictReader(io.StringIO(table, newline="")))

    own = {"id", "text", "score_mood"}
    ours = [f"{field}_topic" for field in EACH] + [f"{field}_mood" for field in EACH]
    ours[ours.index("score_mood")] = "score_mood_"
    assert [name for name in rows[0] if name not in own] == ours
    assert [row["score_mood"] for row in rows] == ["mine", "too"]
    assert [(row["prediction_topic"], row["prediction_mood"]) for row in rows] == [
        ("red", "happy"),
        ("green", "sad"),
    ]
    assert 0.5 < float(rows[0]["score_mood_"]) <= 1
    assert {row[f"uncertain_{group}"] for row in rows for group in ("topic", "mood")} <= {
        "true",
        "false",
    }
    assert json.loads(rows[0]["predictions_topic"])[0]["label"] == "red"


def test_groups_have_numbers_and_booleans_in_parquet(bench: Bench):
    found = pq.read_table(io.BytesIO(grouped(bench, "parquet")))

    for name in ("score_topic", "score_mood_", "margin_topic", "margin_mood", "fit_topic"):
        assert found.schema.field(name).type == pa.float64()
    assert found.schema.field("uncertain_topic").type == pa.bool_()
    (first, _) = found.to_pylist()
    assert (first["prediction_topic"], first["prediction_mood"]) == ("red", "happy")
    assert first["uncertain_topic"] is (first["margin_topic"] < 0.2)
    assert first["score_mood"] == "mine"


def test_doubt_is_a_boolean_in_parquet_without_groups_too(bench: Bench):
    ask = ASK.model_copy(update={"return_uncertainty": True})
    rows = ColumnMapping(ask=ask, id_column="id")
    job = a_batch(bench, jsonl({"id": 1, "text": "red"}), output_format="parquet")
    body = decode_body(bench, job).model_copy(update={"rows": rows})
    job = bench.submit(body)
    run_all(bench)

    found = pq.read_table(io.BytesIO(content(bench, result(bench, job).output_file)))

    assert found.schema.field("uncertain").type == pa.bool_()
    assert found.schema.field("margin").type == pa.float64()
    assert found.to_pylist()[0]["uncertain"] is False


def end_early(bench: Bench, job: Job, event: Cancel | Lapse) -> None:
    now = bench.ledger.record(job.id)
    assert now is not None
    assert bench.ledger.replace(now, advance(now, event, now.created_at))
    bench.ledger.abort_job(job.id)


class TestEndedEarly:
    """A batch that is cancelled or expires: what is finished is kept, and the rest is named."""

    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
        monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 2)

    def one_part(self, bench: Bench) -> None:
        bench.parts.run(bench.claim(CONTROL))
        bench.parts.run(bench.claim(QUEUE))

    @pytest.mark.parametrize(
        ("event", "state", "code", "says"),
        [
            (Cancel(), State.CANCELLED, "batch_cancelled", "the batch was cancelled"),
            (Lapse(), State.EXPIRED, "batch_expired", "before the completion window expired"),
        ],
    )
    def test_every_row_is_in_exactly_one_file(
        self, bench: Bench, event: Cancel | Lapse, state: State, code: str, says: str
    ):
        rows: list[dict[str, Any]] = [{"id": f"r{n}", "text": f"red {n}"} for n in range(23)]
        rows[1]["text"] = ""  # in the part that is finished
        data = jsonl(*rows) + b"not json\n"
        job = a_batch(bench, data)
        self.one_part(bench)
        end_early(bench, job, event)
        run_all(bench)

        done, found = ended(bench, job), result(bench, job)
        assert (done.state, done.progress.total) == (state, 24)
        assert (done.progress.completed, done.progress.failed) == (4, 20)
        assert found.codes == {"empty_text": 1, code: 19}
        output, errors = lines(bench, found.output_file), lines(bench, found.error_file)
        assert [line["id"] for line in output] == ["r0", "r2", "r3", "r4"]
        assert [line["id"] for line in errors[:-1]] == ["r1", *(f"r{n}" for n in range(5, 23))]
        assert [line["line"] for line in errors] == [2, *range(6, 25)]
        assert [line.get("row") for line in errors[1:]] == [*rows[5:], None]
        assert {line["error"]["code"] for line in errors[1:]} == {code}
        assert says in errors[1]["error"]["message"]

    def test_its_lines_have_the_shape_of_those_of_bad_rows(self, bench: Bench):
        job = a_batch(bench, jsonl(*({"id": n, "text": "red", "é": [1]} for n in range(6))))
        self.one_part(bench)
        end_early(bench, job, Lapse())
        run_all(bench)

        message = "This request could not be executed before the completion window expired."
        reason = BadRow(line=6, code="batch_expired", message=message, retryable=True)
        row = PartRow(line=6, id="5", data={"id": 5, "text": "red", "é": [1]})
        wanted = bench.part_runner.documents.refuse(job, row, reason)
        assert content(bench, result(bench, job).error_file) == wanted

    def test_requests_are_named_as_requests(self, bench: Bench):
        asked = {"input": "a red thing", "labels": ["red", "green"]}
        job = a_batch(
            bench, jsonl(*({"custom_id": f"c{n}", "body": asked} for n in range(7))), rows=None
        )
        self.one_part(bench)
        end_early(bench, job, Cancel())
        run_all(bench)

        errors = lines(bench, result(bench, job).error_file)
        assert [line["custom_id"] for line in errors] == ["c5", "c6"]
        message = "This request was not executed because the batch was cancelled."
        reason = BadRow(line=6, code="batch_cancelled", message=message, retryable=True)
        assert errors[0] == json.loads(bad_line(job, PartRow(line=6, id="c5"), reason))
        assert errors[0]["response"] is None

    def test_parts_may_have_finished_in_any_order(self, bench: Bench):
        texts = ["" if n % 4 == 0 else f"red {n}" for n in range(14)]
        job = a_batch(bench, jsonl(*({"id": n, "text": text} for n, text in enumerate(texts))))
        bench.parts.run(bench.claim(CONTROL))
        first = bench.claim(QUEUE)
        bench.parts.run(bench.claim(QUEUE))
        end_early(bench, job, Cancel())
        bench.ledger.requeue(first)
        run_all(bench)

        found = result(bench, job)
        ids_of = [line["id"] for line in lines(bench, found.output_file)]
        errors = [(line["id"], line["error"]["code"]) for line in lines(bench, found.error_file)]
        late = [(str(n), "batch_cancelled") for n in (*range(5), *range(10, 14))]
        assert ids_of == ["5", "6", "7", "9"]
        assert errors == [("8", "empty_text"), *late]

    @pytest.mark.parametrize("id_column", ["id", None])
    def test_of_a_file_that_was_deleted_meanwhile_all_rows_are_named(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, id_column: str | None
    ):
        monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 2)
        file = jsonl(*({"id": str(n + 1), "text": "red"} for n in range(20)))
        job = a_batch(bench, file, rows={"id_column": id_column})
        self.one_part(bench)
        bench.store.delete(object_keys.file_content(ME, decode_body(bench, job).source.object))
        end_early(bench, job, Cancel())
        run_all(bench)

        done = ended(bench, job)
        assert done.state is State.CANCELLED
        assert (done.progress.completed, done.progress.failed) == (5, 15)
        assert len(lines(bench, result(bench, job).output_file)) == 5
        errors = lines(bench, result(bench, job).error_file)
        assert result(bench, job).codes == {"batch_cancelled": 15}
        # The second part was cut: its rows are known; of the others there are only the numbers.
        known = [str(n) for n in range(6, 11 if id_column else 21)]
        assert [line["id"] for line in errors] == known + [None] * (15 - len(known))
        assert [line["line"] for line in errors] == [*range(6, 11), *[None] * 10]
        assert errors[-1]["error"]["message"] == (
            "Row 20 of the file, which can no longer be read: This request was not executed "
            "because the batch was cancelled."
        )

    def test_of_objects_that_were_changed_meanwhile_all_rows_are_named(self, bench: Bench):
        place = "s3://inbox/rows/"
        for name in "ab":
            rows = ({"id": f"{name}{n}", "text": "red"} for n in range(8))
            bench.buckets.objects[place + name] = jsonl(*rows)
        made = a_batch(bench, b"")
        body = decode_body(bench, made).model_copy(update={"source": RowSource(url=place)})
        bench.ledger.lose_everything()  # the first batch was only its pattern
        job = bench.submit(body)
        self.one_part(bench)
        before = bench.store.get(object_keys.inputs(ME, job.id)).data
        bench.buckets.objects[place + "b"] += b"\n"
        end_early(bench, job, Lapse())
        run_all(bench)

        assert ended(bench, job).state is State.EXPIRED
        errors = lines(bench, result(bench, job).error_file)
        known = ["a5", "a6", "a7", "b0", "b1"]  # of parts that were cut before
        assert [line["id"] for line in errors] == known + [None] * 6
        assert result(bench, job).codes == {"batch_expired": 11}
        assert decode(BatchInputs, before) == decode(
            BatchInputs, bench.store.get(object_keys.inputs(ME, job.id)).data
        )

    def test_before_its_file_was_read_it_has_no_lines(self, bench: Bench):
        job = a_batch(bench, jsonl(*({"id": n, "text": "red"} for n in range(20))))
        end_early(bench, job, Cancel())
        run_all(bench)

        assert ended(bench, job).state is State.CANCELLED
        assert result(bench, job).error_file is None

    def test_killed_while_it_writes_it_writes_the_same_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ):
        job = a_batch(bench, jsonl(*({"id": n, "text": "red" if n else ""} for n in range(40))))
        self.one_part(bench)
        now = bench.ledger.record(job.id)
        assert now is not None
        now = advance(now, Cancel(), now.created_at)
        body = decode_body(bench, job)
        assembler = bench.finaliser.assembler
        monkeypatch.setattr("workers.handlers.batch.unprocessed_rows._EVERY", 10)
        looks = 0

        def check() -> None:
            nonlocal looks
            looks += 1
            if looks == 4:
                raise LeaseLost("killed")

        with pytest.raises(LeaseLost):
            assembler.run(now, body, check=check)
        files = []
        for _ in range(2):
            found, progress = assembler.run(now, body, check=check)
            files.append((content(bench, found.error_file), content(bench, found.output_file)))

        assert looks > 4
        assert files[0] == files[1]
        assert files[0][0].count(b"\n") == 36
        assert (progress.completed, progress.failed) == (4, 1)  # what was never begun is the rest
        assert found.codes == {"empty_text": 1, "batch_cancelled": 35}

    def test_a_window_that_ends_when_all_was_finished_is_a_success(self, bench: Bench):
        job = a_batch(bench, jsonl({"id": 1, "text": "red"}, {"id": 2, "text": ""}))
        bench.parts.run(bench.claim(CONTROL))
        running, claim = bench.ledger.record(job.id), bench.claim(QUEUE)
        assert running is not None
        bench.part_runner.run(claim, running, decode_body(bench, job), hold())
        end_early(bench, job, Lapse())
        bench.ledger.requeue(claim)
        run_all(bench)

        assert ended(bench, job).state is State.SUCCEEDED
        assert result(bench, job).codes == {"empty_text": 1}

    def test_a_retry_that_is_cancelled_names_only_its_own_rows(self, bench: Bench):
        job = a_batch(bench, jsonl(*({"id": n, "text": "red"} for n in range(20))))
        self.one_part(bench)
        end_early(bench, job, Cancel())
        run_all(bench)
        body = decode_body(bench, job)
        said = {"retry_of": job.id, "origin": job.id}
        again = bench.submit(body.model_copy(update=said))
        self.one_part(bench)
        end_early(bench, again, Cancel())
        run_all(bench)

        found = result(bench, again)
        assert [line["id"] for line in lines(bench, found.output_file)] == [
            str(n) for n in range(5, 10)
        ]
        assert [line["id"] for line in lines(bench, found.error_file)] == [
            str(n) for n in range(10, 20)
        ]


class TestFailedMidway:
    """A batch that fails when rows of it have come out: every row is in exactly one file."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
        monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 2)

    def check(self, bench: Bench, job: Job, total: int, why: str) -> list[dict[str, Any]]:
        """The lines of the error file; what must hold of any failed batch does."""
        done, found = ended(bench, job), result(bench, job)
        assert (done.state, done.progress.total) == (State.FAILED, total)
        assert done.progress.completed + done.progress.failed == total
        assert done.error is not None
        assert why in done.error.detail
        errors = lines(bench, found.error_file)
        assert len(lines(bench, found.output_file)) == done.progress.completed
        assert len(errors) == done.progress.failed == sum(found.codes.values())
        late = [line for line in errors if line["error"]["code"] == "batch_failed"]
        assert len(late) == found.codes["batch_failed"]
        assert all(why in line["error"]["message"] for line in late)
        return errors

    def test_as_its_file_has_vanished(self, bench: Bench):
        rows = [{"id": str(n), "text": "red" if n % 7 else ""} for n in range(40)]
        job = a_batch(bench, jsonl(*rows))
        bench.parts.run(bench.claim(CONTROL))
        bench.parts.run(bench.claim(QUEUE))
        bench.store.delete(object_keys.file_content(ME, decode_body(bench, job).source.object))
        run_all(bench)

        errors = self.check(bench, job, 40, "the file was deleted")
        assert result(bench, job).codes == {"empty_text": 2, "batch_failed": 30}
        output = [line["id"] for line in lines(bench, result(bench, job).output_file)]
        named = output + [line["id"] for line in errors if line["id"] is not None]
        assert sorted(named, key=int) == [row["id"] for row in rows[:10]]

    def test_as_the_object_of_a_bucket_was_changed(self, bench: Bench):
        url = "s3://inbox/rows/all.jsonl"
        bench.buckets.objects[url] = jsonl(*({"id": n, "text": "red"} for n in range(40)))
        made = a_batch(bench, b"")
        body = decode_body(bench, made).model_copy(update={"source": RowSource(url=url)})
        bench.ledger.lose_everything()  # the first batch was only its pattern
        job = bench.submit(body)
        bench.parts.run(bench.claim(CONTROL))
        bench.buckets.objects[url] = b"{}"
        run_all(bench)

        assert len(self.check(bench, job, 40, "was changed")) > 20

    def test_as_a_row_group_is_corrupt(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("workers.inputs.tables.parquet._BATCH_ROWS", 4)
        table = pa.table({"id": [str(n) for n in range(40)], "text": ["red thing"] * 40})
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=8, compression="none", use_dictionary=False)
        job = a_batch(bench, sink.getvalue(), filename="rows.parquet")
        bench.parts.run(bench.claim(CONTROL))
        third = pq.ParquetFile(io.BytesIO(sink.getvalue())).metadata.row_group(2).column(0)
        data = bytearray(sink.getvalue())
        start = third.data_page_offset
        data[start : start + 40] = b"\xff" * 40
        name = object_keys.file_content(ME, decode_body(bench, job).source.object)
        bench.store.put(name, bytes(data))
        run_all(bench)

        errors = self.check(bench, job, 40, "arquet")
        known = [line["id"] for line in errors if line["id"] is not None]
        assert known
        assert len(set(known)) == len(known)
        assert all(int(name) < 16 for name in known)

    def test_as_a_part_was_given_up(self, bench: Bench, monkeypatch: pytest.MonkeyPatch):
        job = a_batch(bench, jsonl(*({"id": str(n), "text": "red"} for n in range(40))))
        run = type(bench.part_runner).run

        def crash(self: Any, claim: Claim, *rest: Any) -> Any:
            if claim.task == "part:3":
                raise RuntimeError("a bug")
            return run(self, claim, *rest)

        monkeypatch.setattr(type(bench.part_runner), "run", crash)
        monkeypatch.setattr("workers.handlers.task_runner._MAX_RETRY_S", 0)
        run_all(bench)
        errors = self.check(bench, job, 40, "given up")
        assert {str(n) for n in range(15, 20)} <= {line["id"] for line in errors}

    def test_a_retry_does_the_rows_that_are_missing(self, bench: Bench):
        rows = [{"id": str(n), "text": "red"} for n in range(40)]
        job = a_batch(bench, jsonl(*rows))
        bench.parts.run(bench.claim(CONTROL))
        bench.parts.run(bench.claim(QUEUE))
        body = decode_body(bench, job)
        name = object_keys.file_content(ME, body.source.object)
        data = bench.store.get(name).data
        bench.store.delete(name)
        run_all(bench)
        bench.store.put(name, data)
        said = {"retry_of": job.id, "origin": job.id, "output_file": ids.file_id(10**12, 7)}
        again = bench.submit(body.model_copy(update=said))
        run_all(bench)

        first = [line["id"] for line in lines(bench, result(bench, job).output_file)]
        second = [line["id"] for line in lines(bench, result(bench, again).output_file)]
        assert ended(bench, again).state is State.SUCCEEDED
        assert sorted(first + second, key=int) == [row["id"] for row in rows]

    def test_requests_are_named_as_requests(self, bench: Bench):
        asked = {"input": "a red thing", "labels": ["red", "green"]}
        file = jsonl(*({"custom_id": f"c{n}", "body": asked} for n in range(30)))
        job = a_batch(bench, file, rows=None)
        bench.parts.run(bench.claim(CONTROL))
        bench.store.delete(object_keys.file_content(ME, decode_body(bench, job).source.object))
        run_all(bench)

        errors = self.check(bench, job, 30, "the file was deleted")
        assert len({line["id"] for line in errors}) == len(errors)
        assert errors[-1]["custom_id"] is None
        assert errors[-1]["response"] is None


def test_a_new_ledger_does_not_repeat_what_is_done(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
    rows = [{"id": n, "text": f"red {n}"} for n in range(40)]
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    for _ in range(3):
        bench.parts.run(bench.claim(QUEUE))
    ran = bench.encoder.ran
    bench.ledger.lose_everything()
    bench.ledger.create_job(job, parts=0)
    run_all(bench)
    done = ended(bench, job)
    assert (done.state, done.progress.completed) == (State.SUCCEEDED, 40)
    assert [line["id"] for line in lines(bench, result(bench, job).output_file)] == [
        str(n) for n in range(40)
    ]
    assert bench.encoder.ran == ran + 25


def test_an_outage_of_the_store_burns_no_attempt(bench: Bench):
    a_batch(bench, jsonl({"id": 1, "text": "red"}))
    claim = bench.claim(CONTROL)
    bench.store.away = True
    bench.parts.run(claim)
    bench.store.away = False
    bench.ledger.let_pass(1.1)
    bench.ledger.reclaim_expired(attempts=2)
    assert bench.claim(CONTROL).attempt == 1


def test_a_row_that_ends_its_worker_is_given_up_alone(bench: Bench):
    """The claim is dropped as by a kill, whenever the deadly row is under way."""
    rows = [{"id": n, "text": "DEADLY" if n == 13 else f"red {n}"} for n in range(20)]
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    work = bench.part_runner.documents.work

    class Killed(BaseException):
        pass

    def deadly(job: Job, body: BatchRequest, part: Any, hold: Any) -> Any:
        if any(row.data["text"] == "DEADLY" for row in part):
            raise Killed
        return work(job, body, part, hold)

    object.__setattr__(bench.part_runner.documents, "work", deadly)
    for _ in range(12):
        claims = bench.ledger.claim(QUEUE, None, calls=0, parts=1, lease_s=0.01).claims
        if not claims:
            break
        claim = claims[0]
        running = bench.ledger.record(job.id)
        assert running is not None
        body = decode_body(bench, job)
        try:
            report = bench.part_runner.run(claim, running, body, hold())
        except Killed:
            bench.ledger.let_pass(0.02)
            bench.ledger.reclaim_expired(attempts=2)
            continue
        bench.ledger.heartbeat(claim, lease_s=30)
        assert (report.completed, report.failed) == (19, 1)
        assert report.codes == {"worker_died": 1}
        assert claim.attempt <= 6
        return
    raise AssertionError("the row was never given up")


def test_no_row_is_blamed_for_a_worker_that_ends_while_the_result_is_stored(bench: Bench):
    """As another part, with a deadly row, ends it: the lock of suspects is free by then."""
    job = a_batch(bench, jsonl(*({"id": n, "text": f"red {n}"} for n in range(4))))
    bench.parts.run(bench.claim(CONTROL))
    running = bench.ledger.record(job.id)
    assert running is not None
    put, body = bench.store.put, decode_body(bench, job)

    class Killed(BaseException):
        pass

    def deadly(*_: object, **__: object) -> None:
        raise Killed

    for _ in range(8):
        claim = bench.claim(QUEUE, lease_s=0.01)
        bench.store.put = deadly
        with pytest.raises(Killed):
            bench.part_runner.run(claim, running, body, hold())
        bench.store.put = put
        bench.ledger.let_pass(0.02)
        bench.ledger.reclaim_expired(attempts=99)

    report = bench.part_runner.run(bench.claim(QUEUE), running, body, hold())
    assert (report.completed, report.failed) == (4, 0)


def decode_body(bench: Bench, job: Job) -> BatchRequest:
    body = decode(Submission, bench.store.get(object_keys.request(ME, job.id)).data).body
    assert isinstance(body, BatchRequest)
    return body


class TestRequests:
    """Lines that are requests of their own."""

    def line(self, custom_id: object, **body: object) -> dict[str, object]:
        said = {"custom_id": custom_id, "method": "POST", "url": "/v1/classify", "body": body}
        return {key: value for key, value in said.items() if value is not None}

    def test_each_line_asks_for_itself(self, bench: Bench):
        made = creation(name="colours")
        bench.train.train(a_job(), made, hold())
        job = a_batch(
            bench,
            jsonl(
                self.line("a", input="a red thing", labels=["red", "green"]),
                self.line("b", input=["green grass", "red"], labels=["red", "green"]),
                self.line("c", input="a rose", labels=["rose", "stone"], top_k=1),
                self.line("d", input="a red rose", classifier_id="colours"),
                self.line("e", input="x", labels=["only"]),
                self.line("f", input="x", classifier_id="nobody"),
                self.line("g", input="word " * 60, labels=["red", "green"]),
                self.line("h", nothing=1),
                {"custom_id": "i", "method": "GET", "url": "/v1/classify", "body": {}},
                {"custom_id": "j", "method": "POST", "url": "/v1/other", "body": {}},
                {"no": "id"},
            ),
            rows=None,
        )
        run_all(bench)
        done = ended(bench, job)
        assert (done.state, done.progress.completed, done.progress.failed) == (
            State.SUCCEEDED, 4, 7,
        )  # fmt: skip
        found = result(bench, job)
        output = {line["custom_id"]: line for line in lines(bench, found.output_file)}
        assert list(output) == ["a", "b", "c", "d"]
        body = output["b"]["response"]["body"]
        assert output["b"]["response"]["status_code"] == 200
        assert [item["index"] for item in body["data"]] == [0, 1]
        assert [item["prediction"] for item in body["data"]] == ["green", "red"]
        assert body["usage"]["total_tokens"] == 3 + 2
        assert len(output["c"]["response"]["body"]["data"][0]["predictions"]) == 1
        assert output["d"]["response"]["body"]["data"][0]["prediction"] == "red"
        errors = {line["custom_id"]: line for line in lines(bench, found.error_file)}
        statuses = {
            key: (line["response"] or {}).get("status_code") for key, line in errors.items()
        }
        assert statuses == {
            "e": 400, "f": 404, "g": 400, "h": 422, "i": None, "j": None, None: None,
        }  # fmt: skip
        assert errors["j"]["error"]["code"] == "mismatched_endpoint"
        too_long = errors["g"]["response"]["body"]["error"]
        assert (too_long["code"], too_long["param"]) == ("input_token_limit_exceeded", "input[0]")

    def test_errors_have_the_fields_of_the_line_s_own_request(self, bench: Bench):
        long, labels = "word " * 60, ["red", "green"]
        job = a_batch(
            bench,
            jsonl(
                self.line("good", input=["red", "green"], labels=labels),
                self.line("second", input=["red", long], labels=labels),
                self.line("empty", input=["red", "green", ""], labels=labels),
                self.line("classer", text=long, labels=labels),
                self.line("classer_empty", text=" ", labels=labels),
            ),
            rows=None,
        )
        run_all(bench)
        found = result(bench, job)
        assert [line["custom_id"] for line in lines(bench, found.output_file)] == ["good"]
        errors = {
            line["custom_id"]: line["response"]["body"]["error"]
            for line in lines(bench, found.error_file)
        }
        assert {key: error["param"] for key, error in errors.items()} == {
            "second": "input[1]",
            "empty": "input[2].text",
            "classer": "text",
            "classer_empty": "text",
        }
        assert all(e["message"].startswith(f"{e['param']}: ") for e in errors.values())

    def test_is_answered_as_over_http(self, bench: Bench):
        """The same scores and the same charge, whoever shares the part."""
        texts = ["a red rose", "green grass " * 20, "red"]
        job = a_batch(
            bench,
            jsonl(
                *(self.line(str(i), input=t, labels=["red", "green"]) for i, t in enumerate(texts))
            ),
            rows=None,
        )
        run_all(bench)
        found = lines(bench, result(bench, job).output_file)
        for text, line in zip(texts, found, strict=True):
            asked = ClassifyRequest(model="tiny", items=(Item(text=text),), questions=ASK.questions)
            alone = bench.classify.begin(asked, WorkContext(priority=Priority.STANDARD))
            assert line["response"]["body"] == json.loads(
                body.dump(native.render(asked, alone.result(timeout_s=5)).body)
            )
