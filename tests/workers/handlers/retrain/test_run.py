"""Whole runs on in-memory ports and the hashing model: what is learnt, promoted, rejected, left."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO

import pytest

from shared import object_keys, retraining_keys
from shared.classifier_record import Classifier
from shared.classifier_requests import RelabelRequest
from shared.errors import Conflict, InvalidRequest, PigeonholeError, StoreUnavailable, Unavailable
from shared.feedback_store import FeedbackStore
from shared.ids import ClassifierRef
from shared.jobs import Job, State
from shared.messages import failure_of
from shared.promotion import promote, reject, roll_back
from shared.retraining import (
    PHASES,
    Decision,
    FeedbackItem,
    Gate,
    Holdout,
    RetrainingRecord,
    RetrainingSettings,
    RetrainRequest,
    Run,
    RunStatus,
    Source,
    run_id_of,
)
from shared.retraining_store import RetrainingStore
from shared.types import Example, Item, JobKind
from tests.workers.conftest import NOW, Bench
from tests.workers.handlers.test_train import ME, a_job, creation, forget_all, hold
from workers.handlers.kept_embeddings import KeptEmbeddings
from workers.handlers.retrain.conclude import Conclusion
from workers.handlers.retrain.snapshot import SnapshotStore
from workers.leases import Lease

LAKE = "s3://inbox/rows/"
ANIMALS = ("cat", "dog", "cow", "hen", "fox", "owl", "bee", "ant", "elk", "emu")
PLACES = ("paris", "rome", "oslo", "bern", "riga", "kyiv", "lima", "cairo", "delhi", "quito")


def rows(start: int, count: int, *, swapped: bool = False) -> str:
    """A table of texts of two kinds; the words of a kind occur in no other."""
    labels = ("place", "animal") if swapped else ("animal", "place")
    lines = []
    for i in range(start, start + count):
        words, label = ((ANIMALS, labels[0]), (PLACES, labels[1]))[i % 2]
        lines.append(f"{words[i // 2 % 10]} {words[i // 20 % 10]} note{i},{label}")
    return "text,label\n" + "\n".join(lines) + "\n"


class Nights:
    """A classifier with a retraining, and its nights."""

    def __init__(self, bench: Bench, **settings: Any) -> None:
        self.bench = bench
        body = creation(name="kinds", keep_examples=settings.pop("keep_examples", False))
        examples = tuple(
            Example(item=Item(text=text), label=label)
            for text, label in (("cat dog start", "animal"), ("paris rome start", "place"))
        )
        bench.train.train(a_job(), body.model_copy(update={"examples": examples}), hold())
        self.id = body.classifier_id
        self.store = RetrainingStore(store=bench.store)
        self.set(**settings)

    def set(self, **settings: Any) -> None:
        said = {
            "sources": (Source(url=LAKE),),
            "holdout": Holdout(share=0.3),
            "minimum_new_examples": 5,
            "gate": Gate(maximum_ece=None),
        } | settings
        record = RetrainingRecord(
            account=ME,
            classifier_id=self.id,
            settings=RetrainingSettings(**said),
            created_at=NOW,
            updated_at=NOW,
        )
        self.store.reschedule(record, None, after=NOW)

    def bring(self, name: str, table: str) -> None:
        self.bench.buckets.objects[f"{LAKE}{name}.csv"] = table.encode()

    def job(self) -> Job:
        """The job of a run that was accepted and has not ended."""
        job = a_job(JobKind.RETRAIN)
        self.bench.store.put(object_keys.open_marker(job.id), ME.encode())
        return job

    def run(self, job: Job | None = None, lease: Lease | None = None, **said: Any) -> Run:
        job = job or self.job()
        body = RetrainRequest(model="tiny", classifier_id=self.id, **said)
        lease = lease or hold()
        try:
            return self.bench.retrain.run(job, body, lease).run
        except CancelledError:
            if lease.abandoned:
                cancelling = job.model_copy(update={"state": State.CANCELLING})
                self.bench.unfinished.conclude(cancelling, body, None)
            raise
        except PigeonholeError as exc:
            if not exc.outage:
                self.bench.unfinished.conclude(job, body, failure_of(exc))
            raise
        finally:
            self.bench.store.delete(object_keys.open_marker(job.id))

    def decided(self, run: Run, status: RunStatus) -> None:
        """Give a run another status, as a call of its owner does."""
        self.store.change_run(run, lambda now: now.model_copy(update={"status": status}))

    def forget_versions(self, run: Run) -> None:
        """Take the versions of the rows out of the snapshot of a run."""
        snapshots = SnapshotStore(store=self.bench.store, account=ME, classifier_id=self.id)
        found = snapshots.load(run.id)
        rejected = tuple(each.model_copy(update={"version": None}) for each in found.rejected)
        snapshots.save(run.id, replace(found, rejected=rejected))

    @property
    def record(self) -> Classifier:
        return self.bench.classifiers.records.load(ME, self.id)[0]


@pytest.fixture
def nights(bench: Bench) -> Nights:
    made = Nights(bench)
    made.bring("monday", rows(0, 60))
    return made


class TestANight:
    def test_that_is_better_is_promoted(self, nights: Nights):
        run = nights.run()

        assert run.status == "promoted", run.decision
        assert run.decision is not None
        assert run.decision.reasons[0].startswith("macro_f1 0.")
        assert (run.champion, run.challenger) == (1, 2)
        counts = run.counts
        assert (counts.read, counts.new + counts.held_out, counts.learnt) == (60, 60, counts.new)
        assert 0 < counts.held_out < 60
        assert nights.record.aliases == {"champion": 2, "previous": 1}
        assert nights.record.latest.promoted_by == run.id
        assert nights.store.run(ME, nights.id, run.id) == run
        assert nights.store.state(ME, nights.id).active is None

    def test_that_is_worse_is_rejected_and_changes_nothing(self, nights: Nights):
        nights.run()
        nights.bring("tuesday", rows(60, 60, swapped=True))

        run = nights.run()

        assert run.status == "rejected"
        assert run.decision is not None
        assert "macro_f1" in run.decision.reasons[0]
        assert nights.record.aliases["champion"] == 2
        rejected = nights.record.versions[-1]
        assert (rejected.number, rejected.candidate, rejected.rejected_by) == (3, True, run.id)
        assert nights.record.latest.number == 2

    def test_without_enough_examples_is_skipped_and_consumes_nothing(self, nights: Nights):
        nights.set(minimum_new_examples=61)
        run = nights.run()
        assert run.status == "skipped"
        assert run.decision is not None
        assert run.decision.reasons == ("60 new examples; at least 61 are needed",)

        nights.set(minimum_new_examples=60)
        assert nights.run().status == "promoted"

    def test_of_a_dry_run_says_what_would_be_and_moves_nothing(self, nights: Nights):
        run = nights.run(dry_run=True)

        assert (run.status, run.challenger, nights.record.aliases) == ("skipped", None, {})
        assert run.decision is not None
        assert run.decision.outcome == "promote"
        assert nights.run().status == "promoted"

    def test_is_skipped_so_often_that_only_skipped_runs_are_kept_and_the_snapshot_stays(
        self, nights: Nights
    ):
        nights.set(keep_runs=1)
        nights.run()
        assert nights.run().status == "skipped"

        assert nights.run().counts.read == 0

    def test_without_a_holdout_yet_promotes_nothing(self, nights: Nights):
        nights.set(holdout=Holdout(share=0.0))

        run = nights.run()

        assert run.decision is not None
        assert "no examples yet" in run.decision.reasons[0]

    def test_promotes_in_any_case_where_the_owner_says_so(self, nights: Nights):
        nights.set(promote="always")
        nights.run()
        nights.bring("tuesday", rows(60, 60, swapped=True))

        assert nights.run().status == "promoted"
        assert nights.record.aliases["champion"] == 3


class TestSources:
    def test_are_consumed_once(self, nights: Nights):
        nights.run()

        assert nights.run().counts.read == 0
        nights.bring("monday", rows(0, 70))  # a changed object: only its new rows are new
        counts = nights.run().counts
        assert (counts.read, counts.duplicate) == (70, 60)

    def test_may_be_feedback(self, nights: Nights):
        nights.set(sources=(Source(feedback=True),))
        for i, line in enumerate(rows(0, 40).splitlines()[1:]):
            text, _, label = line.rpartition(",")
            example = Example(item=Item(text=text), label=label)
            item = FeedbackItem(id=str(i), example=example, label=label, created_at=NOW)
            FeedbackStore(store=nights.bench.store).put(ME, nights.id, item)

        assert nights.run().counts.read == 40
        assert nights.run().counts.read == 0

    def test_with_a_few_bad_rows_name_them_and_go_on(self, nights: Nights):
        nights.bring("tuesday", rows(60, 40) + "only text,\n" + "long " * 60 + ",animal\n")

        run = nights.run()

        assert (run.counts.bad, run.status) == (2, "promoted")
        assert run.bad_rows[0].place == f"{LAKE}tuesday.csv line 42"
        assert "tokens" in run.bad_rows[1].message

    def test_with_more_than_a_tenth_of_bad_rows_fail_and_leave_all_to_the_next_night(
        self, nights: Nights
    ):
        nights.bring("tuesday", "text,label\n" + "no label,\n" * 10)
        job = nights.job()

        with pytest.raises(InvalidRequest, match="10 of 70 rows are bad"):
            nights.run(job)

        assert nights.store.run(ME, nights.id, run_id_of(job.id)).status == "failed"
        del nights.bench.buckets.objects[f"{LAKE}tuesday.csv"]
        assert nights.run().counts.read == 60

    @pytest.mark.parametrize("fault", ["corrupt", "away"])
    def test_that_fail_midway_leave_all_to_the_next_night(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch, fault: str
    ):
        nights.run()
        nights.bring("tuesday", rows(60, 40))
        before = nights.record
        job, buckets = nights.job(), nights.bench.buckets
        buckets.objects[f"{LAKE}wednesday.parquet"] = b"PAR1 and no more"
        opened = buckets.open

        def away(url: str, *, etag: str = "") -> BinaryIO:
            if url.endswith(".parquet"):
                raise StoreUnavailable("the bucket is away")
            return opened(url, etag=etag)

        with monkeypatch.context() as patched:
            if fault == "away":
                patched.setattr(buckets, "open", away)
            with pytest.raises(StoreUnavailable if fault == "away" else InvalidRequest) as refused:
                nights.run(job)

        assert nights.record == before
        if fault == "corrupt":  # an outage is repeated by the same job, and fails it in the end
            run = nights.store.run(ME, nights.id, run_id_of(job.id))
            assert (run.status, run.error) == ("failed", refused.value.detail)
            assert f"{LAKE}wednesday.parquet" in (run.error or "")
        buckets.objects.pop(f"{LAKE}wednesday.parquet")
        nights.bring("wednesday", rows(100, 20))
        assert nights.run(job if fault == "away" else None).counts.read == 60

    def test_with_one_text_of_two_labels_teach_neither(self, nights: Nights):
        nights.bring("tuesday", "text,label\nan odd text,animal\nAn  odd TEXT,place\n")

        assert nights.run().counts.conflicting == 2

    def test_bring_new_labels(self, nights: Nights):
        plants = "\n".join(f"oak elm n{i},plant" for i in range(20))
        nights.bring("tuesday", f"text,label\n{plants}\n")

        run = nights.run()

        assert run.status == "promoted"
        assert run.new_labels == ("plant",)
        assert nights.record.labels == ("animal", "place", "plant")

    def test_bring_labels_under_a_new_name_as_new_labels(self, nights: Nights):
        nights.bring("monday", rows(0, 120))
        nights.run()
        nights.bring("tuesday", rows(120, 60).replace(",place", ",city"))

        run = nights.run()

        assert (run.status, run.new_labels) == ("promoted", ("city",)), run.decision
        assert run.missing_labels == ("place",)

    def test_lack_a_label_and_the_run_says_so(self, nights: Nights):
        nights.run()
        table = rows(60, 120).splitlines()
        nights.bring("tuesday", "\n".join(each for each in table if ",place" not in each) + "\n")

        assert nights.run().missing_labels == ("place",)

    def test_with_labels_of_other_rows_say_how_far_they_agree_with_the_champion(
        self, nights: Nights
    ):
        nights.bring("monday", rows(0, 200))  # all words that there are
        first = nights.run()
        nights.bring("tuesday", rows(200, 60))
        usual = nights.run()
        nights.bring("wednesday", rows(260, 60, swapped=True))

        run = nights.run()

        assert first.label_agreement is None, "there was no holdout before it"
        assert usual.label_agreement is not None
        assert run.label_agreement is not None
        assert (usual.label_agreement.unusual, run.label_agreement.unusual) == (False, True)
        assert run.label_agreement.examples == run.counts.new
        assert run.label_agreement.agreed < run.label_agreement.usual * run.counts.new / 2

    def test_of_which_all_labels_are_new_say_nothing_of_their_agreement(self, nights: Nights):
        nights.run()
        table = rows(60, 60).replace(",place", ",city").replace(",animal", ",pet")
        nights.bring("tuesday", table)

        assert nights.run().label_agreement is None


class TestLabelsThatTheOwnerRenamed:
    """Rows that were collected before have the old names; they are those of the champion now."""

    def relabel(self, nights: Nights, **labels: str | None) -> None:
        body = RelabelRequest(model="tiny", classifier_id=nights.id, labels=labels)
        nights.bench.train.relabel(a_job(JobKind.RELABEL), body, hold())
        aliases = {"champion": nights.record.latest.number}
        nights.bench.classifiers.records.change(
            ME, nights.id, lambda record: record.model_copy(update={"aliases": aliases})
        )

    def night(
        self, nights: Nights, start: int, *, city: bool = False, swapped: bool = False
    ) -> Run:
        table = rows(start, 60, swapped=swapped)
        nights.bring(f"night{start}", table.replace(",place", ",city") if city else table)
        return nights.run()

    def labels(self, run: Run) -> dict[str, int]:
        assert run.metrics is not None
        return {each.label: each.support for each in run.metrics.labels}

    def test_are_renamed_in_the_holdout_once_and_for_good(self, nights: Nights):
        before = self.labels(nights.run())
        self.relabel(nights, place="city")

        renamed = self.night(nights, 60, city=True)
        after = self.labels(renamed)
        assert set(after) == {"animal", "city"}
        assert after["city"] > before["place"]
        assert renamed.new_labels == ()
        assert renamed.status == "promoted", renamed.decision

        assert set(self.labels(self.night(nights, 120, city=True))) == {"animal", "city"}

    def test_may_swap_their_names(self, nights: Nights):
        nights.run()
        self.relabel(nights, place="animal", animal="place")

        for start in (60, 120):
            run = self.night(nights, start, swapped=True)

            assert run.metrics is not None
            assert run.metrics.champion.accuracy > 0.7

    def test_leave_the_holdout_where_they_are_removed(self, nights: Nights):
        plants = "\n".join(f"oak elm n{i},plant" for i in range(40))
        nights.bring("plants", f"text,label\n{plants}\n")
        assert self.labels(nights.run())["plant"] > 0
        self.relabel(nights, plant=None)
        ran = nights.bench.encoder.ran

        run = self.night(nights, 60)

        assert set(self.labels(run)) == {"animal", "place"}
        assert nights.bench.encoder.ran - ran == run.counts.new + run.counts.holdout

    def test_are_renamed_in_feedback_that_was_given_before(self, bench: Bench):
        nights = Nights(bench, sources=(Source(feedback=True),))
        self.relabel(nights, place="city")
        renamed_at = nights.record.latest.created_at
        store = FeedbackStore(store=bench.store)
        items = [
            FeedbackItem(
                id=f"f{n}",
                example=Example(item=Item(text=f"rome lima {n}"), label=label),
                label=label,
                created_at=renamed_at + timedelta(seconds=late),
            )
            for n, (label, late) in enumerate([("place", -1)] * 5 + [("city", 1)] * 5)
        ]
        for item in items:
            store.put(ME, nights.id, item)

        run = nights.run()

        assert run.counts.read == 10
        assert run.new_labels == ()
        assert set(nights.record.labels) == {"animal", "city"}


def test_what_is_in_the_holdout_is_never_learnt_in_other_case_or_spacing(nights: Nights):
    first = nights.run()
    nights.bring(
        "tuesday", rows(0, 60).replace(" ", "  ").upper().replace("TEXT,LABEL", "text,label")
    )

    again = nights.run()

    assert again.counts.duplicate + again.counts.new + again.counts.held_out == 60
    assert again.counts.held_out == 0
    assert again.counts.duplicate >= first.counts.held_out


class TestRejectedRows:
    def test_are_tried_again_with_new_rows_and_alone(self, nights: Nights):
        nights.bring("monday", rows(0, 200))
        nights.run()
        nights.bring("tuesday", rows(200, 60, swapped=True))
        assert nights.run().status == "rejected"
        nights.bring("wednesday", rows(300, 60))

        run = nights.run()

        assert run.status == "promoted"
        assert run.rejected_rows == "without"
        assert run.counts.rejected_before > 0

    def test_are_set_aside_after_three_rejections(self, nights: Nights):
        nights.set(gate=Gate(minimum_gain=1.0))  # no challenger passes
        runs = [nights.run()]
        for day in range(3):
            nights.bring(f"later{day}", rows(300 + 20 * day, 20))
            runs.append(nights.run())

        assert [run.status for run in runs] == ["rejected"] * 4
        first = runs[0].counts.new
        assert runs[2].counts.set_aside == first
        assert runs[2].set_aside[0].startswith(LAKE)


class TestRowsOfAPromotionThatWasUndone:
    def test_are_tried_again(self, nights: Nights):
        first = nights.run()
        nights.bring("tuesday", rows(60, 60))
        nights.set(gate=Gate(minimum_gain=-1.0, maximum_ece=None))
        second = nights.run()
        assert second.status == "promoted"
        roll_back(nights.bench.classifiers.records, ME, nights.id, alias="champion")
        nights.bring("wednesday", rows(120, 20))

        third = nights.run()

        assert (third.champion, third.counts.rejected_before) == (2, second.counts.new)
        assert third.counts.learnt == second.counts.new + third.counts.new
        samples = nights.record.versions[-1].samples
        assert samples == 2 + first.counts.new + third.counts.learnt

    def test_are_forgotten_once_the_next_promotion_stands_on_them(self, nights: Nights):
        nights.set(gate=Gate(minimum_gain=-1.0, maximum_ece=None))
        for day in range(3):
            nights.bring(f"day{day}", rows(100 * day, 40))
            assert nights.run().status == "promoted"
        roll_back(nights.bench.classifiers.records, ME, nights.id, alias="champion")
        nights.bring("later", rows(500, 40))

        assert (
            nights.run().counts.rejected_before
            == nights.store.run(
                ME, nights.id, nights.record.versions[-2].promoted_by or ""
            ).counts.new
        )


class TestAPersonDecides:
    @pytest.mark.parametrize("snapshot", ["new", "without versions"])
    def test_to_promote(self, nights: Nights, snapshot: str):
        nights.set(promote="ask")
        run = nights.run()
        assert (run.status, nights.record.latest.number) == ("waiting", 1)
        if snapshot == "without versions":  # as an earlier release has written it
            nights.forget_versions(run)

        promote(nights.bench.classifiers.records, run, alias="champion", now=NOW)
        nights.decided(run, "promoted")

        assert nights.record.aliases["champion"] == 2
        nights.bring("tuesday", rows(60, 20))
        assert nights.run().counts.rejected_before == 0

    def test_to_reject(self, nights: Nights):
        nights.set(promote="ask")
        run = nights.run()

        reject(nights.bench.classifiers.records, run)
        nights.decided(run, "rejected")

        nights.bring("tuesday", rows(60, 20))
        assert nights.run().counts.rejected_before == run.counts.new

    def test_to_go_back(self, nights: Nights):
        nights.run()

        assert roll_back(nights.bench.classifiers.records, ME, nights.id, alias="champion") == 1
        assert nights.record.aliases == {"champion": 1, "previous": 2}


class TestRebuild:
    def test_learns_all_kept_examples_anew(self, bench: Bench):
        nights = Nights(bench, keep_examples=True, method="rebuild")
        nights.bring("monday", rows(0, 60))

        run = nights.run()

        assert (run.status, run.method) == ("promoted", "rebuild")
        version = nights.record.latest
        assert version.samples == 2 + run.counts.new
        trained = bench.classifiers.load(nights.record.weights(version))
        assert sum(trained.counts) == version.samples

    def test_embeds_the_new_rows_and_nothing_that_is_kept(self, bench: Bench):
        nights = Nights(bench, keep_examples=True, method="both")
        for day in range(2):
            nights.bring(f"day{day}", rows(100 * day, 60))
            ran = bench.encoder.ran
            run = nights.run()
            assert bench.encoder.ran - ran == run.counts.new + run.counts.held_out
        assert any("/embeddings/" in name for name in bench.store.objects)

    def test_embeds_kept_examples_once_that_have_no_embeddings(self, bench: Bench):
        nights = Nights(bench, keep_examples=True, method="rebuild")
        for name in [each for each in bench.store.objects if "/embeddings/" in each]:
            bench.store.delete(name)
        passes = []
        for day in range(2):
            nights.bring(f"day{day}", rows(100 * day, 60))
            ran = bench.encoder.ran
            run = nights.run()
            passes.append(bench.encoder.ran - ran - run.counts.new - run.counts.held_out)

        assert passes == [2, 0]

    def test_keeps_no_embeddings_of_examples_that_were_forgotten_meanwhile(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ):
        nights = Nights(bench, keep_examples=True, method="rebuild")
        for name in [each for each in bench.store.objects if "/embeddings/" in each]:
            bench.store.delete(name)
        nights.bring("monday", rows(0, 60))
        add = KeptEmbeddings.add

        def forgotten(self: KeptEmbeddings, *args: Any) -> None:
            forget_all(bench, nights.id)
            add(self, *args)

        monkeypatch.setattr(KeptEmbeddings, "add", forgotten)
        assert nights.run().status == "promoted"

        assert not [each for each in bench.store.objects if "/embeddings/" in each]

    def test_beside_an_update_lets_the_better_one_stand(self, bench: Bench):
        nights = Nights(bench, keep_examples=True, method="both")
        nights.bring("monday", rows(0, 60))

        assert nights.run().method in {"update", "rebuild"}

    def test_without_kept_examples_fails(self, nights: Nights):
        nights.set(method="rebuild")

        with pytest.raises(Conflict, match="keeps no examples"):
            nights.run()


class TestRunAgain:
    @pytest.mark.parametrize("writes", range(1, 16))
    def test_after_a_store_that_went_away_at_any_write_learns_and_promotes_once(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch, writes: int
    ):
        job, store = nights.job(), nights.bench.store
        put, left = store.put, writes

        def failing(*args: Any, **said: Any) -> str:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreUnavailable("away")
            return put(*args, **said)

        with monkeypatch.context() as patched:
            patched.setattr(store, "put", failing)
            with suppress(StoreUnavailable):
                nights.bench.retrain.run(
                    job, RetrainRequest(model="tiny", classifier_id=nights.id), hold()
                )
        nights.bring("later", rows(60, 20))  # what comes meanwhile is for the next run

        run = nights.run(job)

        assert run.status == "promoted"
        assert run.counts.read in {60, 80}
        assert [each.number for each in nights.record.versions] == [1, 2]
        assert nights.record.aliases == {"champion": 2, "previous": 1}
        learnt = nights.record.latest.samples - 2
        assert run.counts.learnt == learnt
        after = nights.run()
        assert run.counts.read + after.counts.read == 80
        assert learnt == run.counts.new

    def test_on_a_later_night_killed_before_its_record_is_written_ends_as_it_was_decided(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch
    ):
        first = nights.run()
        nights.bring("tuesday", rows(60, 60))
        nights.set(gate=Gate(minimum_gain=-1.0, maximum_ece=None))
        job = nights.job()
        put_run = RetrainingStore.put_run

        def failing(self: RetrainingStore, run: Run) -> Run:
            if run.status == "promoted":
                raise StoreUnavailable("away")
            return put_run(self, run)

        with monkeypatch.context() as patched:
            patched.setattr(RetrainingStore, "put_run", failing)
            with pytest.raises(StoreUnavailable):
                nights.run(job)
        assert nights.store.state(ME, nights.id).snapshot == run_id_of(job.id)

        run = nights.run(job)

        assert (run.status, nights.record.aliases["champion"]) == ("promoted", 3)
        left = retraining_keys.run_prefix(ME, nights.id, first.id)
        assert [name.removeprefix(left) for name in nights.bench.store.list(left)] == [
            "comparison.json",
            "run.json",
        ]

    def test_a_second_run_waits_for_the_first(self, nights: Nights):
        first = nights.job()
        nights.store.begin(ME, nights.id, run_id_of(first.id))

        with pytest.raises(Unavailable, match="has not ended"):
            nights.run()

        nights.bench.store.delete(object_keys.open_marker(first.id))
        assert nights.run().status == "promoted"

    def test_that_is_overtaken_by_another_leaves_the_run_and_the_snapshot_as_they_are(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch
    ):
        nights.set(promote="ask")
        job, save, attempts = nights.job(), SnapshotStore.save, 0
        later = ""

        def overtaking(self: SnapshotStore, *args: Any) -> None:
            nonlocal attempts, later
            attempts += 1
            if attempts == 1:  # paused here, its lease is lost: all of this happens meanwhile
                run = nights.run(job)
                promote(nights.bench.classifiers.records, run, alias="champion", now=NOW)
                nights.decided(run, "promoted")
                nights.bring("tuesday", rows(60, 60))
                later = nights.run().id
            save(self, *args)

        with monkeypatch.context() as patched:
            patched.setattr(SnapshotStore, "save", overtaking)
            answer = nights.run(job)

        assert answer.status == "promoted"
        assert nights.store.run(ME, nights.id, run_id_of(job.id)) == answer
        assert nights.store.state(ME, nights.id).snapshot == later
        assert nights.run().counts.read == 0

    def test_that_was_promoted_before_its_cancellation_says_so(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch
    ):
        job, lease = nights.job(), hold()
        with monkeypatch.context() as patched:
            patched.setattr(SnapshotStore, "save", _away)
            with pytest.raises(StoreUnavailable):
                nights.run(job)
        assert nights.record.aliases["champion"] == 2
        lease.end(abandoned=True)

        with pytest.raises(CancelledError):
            nights.run(job, lease)

        run = nights.store.run(ME, nights.id, run_id_of(job.id))
        assert run.status == "promoted"
        assert nights.record.find(ClassifierRef(nights.id, 2, None)).rejected_by is None
        after = nights.run()
        assert (after.status, after.counts.new) == ("skipped", 0), "rows are learnt once"

    def test_that_was_cancelled_and_goes_on_leaves_the_snapshot_to_the_next_run(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch
    ):
        nights.run()
        nights.bring("tuesday", rows(60, 60))
        nights.set(gate=Gate(minimum_gain=-1.0, maximum_ece=None))
        job, later, apply = nights.job(), nights.job(), Conclusion.apply

        def overtaken(self: Conclusion, run: Run, **said: Any) -> Run:
            # Paused here, its lease is lost: another attempt is cancelled, and the next run begins.
            patched.setattr(Conclusion, "apply", apply)
            lease = hold()
            lease.end(abandoned=True)
            with pytest.raises(CancelledError):
                nights.run(job, lease)
            nights.store.begin(ME, nights.id, run_id_of(later.id))
            return apply(self, run, **said)

        with monkeypatch.context() as patched:
            patched.setattr(Conclusion, "apply", overtaken)
            answer = nights.run(job)

        assert answer.status == "cancelled"
        assert nights.run(later).counts.new > 0

    def test_that_decides_second_keeps_the_first_decision(self, nights: Nights):
        run = nights.run(dry_run=True).model_copy(update={"id": "run_2", "status": "deciding"})
        promoting = nights.store.put_run(run)
        rejecting = run.model_copy(update={"decision": Decision(outcome="reject", reasons=())})

        assert nights.store.put_run(rejecting) == promoting
        assert nights.store.run(ME, nights.id, run.id) == promoting

    def test_does_not_promote_again_after_a_rollback(self, nights: Nights):
        job = nights.job()
        run = nights.run(job)
        roll_back(nights.bench.classifiers.records, ME, nights.id, alias="champion")
        nights.decided(run, "deciding")

        nights.run(job)

        assert nights.record.aliases["champion"] == 1


def _away(*_: Any) -> None:
    raise StoreUnavailable("away")


class TestPhases:
    def test_and_progress_are_in_the_record_as_the_run_goes_on(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch
    ):
        seen: list[tuple[str, int, int]] = []
        put_run = RetrainingStore.put_run

        def noting(self: RetrainingStore, run: Run) -> Run:
            seen.append((run.status, run.progress.completed, run.progress.total))
            return put_run(self, run)

        monkeypatch.setattr(RetrainingStore, "put_run", noting)
        nights.run()

        phases = list(dict.fromkeys(status for status, _, _ in seen))
        assert phases == [*PHASES, "promoted"]
        assert ("collecting", 0, 60) in seen
        assert seen[-1] == ("promoted", 60, 60)

    @pytest.mark.parametrize("phase", PHASES)
    def test_can_be_cancelled_and_nothing_has_moved(
        self, nights: Nights, monkeypatch: pytest.MonkeyPatch, phase: str
    ):
        job, lease = nights.job(), hold()
        put_run = RetrainingStore.put_run

        def cancelling(self: RetrainingStore, run: Run) -> Run:
            stored = put_run(self, run)
            if run.status == phase:
                lease.end(abandoned=True)
            return stored

        with monkeypatch.context() as patched:
            patched.setattr(RetrainingStore, "put_run", cancelling)
            with pytest.raises(CancelledError):
                nights.run(job, lease)

        run = nights.store.run(ME, nights.id, run_id_of(job.id))
        assert (run.status, nights.record.aliases) == ("cancelled", {})
        assert nights.record.latest.number == 1
        assert all(v.rejected_by == run.id for v in nights.record.versions if v.candidate)
        after = nights.run()
        assert (after.status, after.counts.read) == ("promoted", 60)


def test_what_both_versions_predict_is_kept_for_the_report(nights: Nights):
    first = nights.run()
    nights.bring("tuesday", rows(60, 60, swapped=True))
    nights.run()  # deletes the snapshot of the first

    kept = nights.store.comparison(first)
    assert kept is not None
    assert kept.labels == ("animal", "place")
    assert sum(count for *_, count in kept.challenger.confusion) == first.counts.holdout
    assert sum(each.count for each in kept.champion.reliability) == first.counts.holdout


def test_an_alias_that_moved_during_the_run_is_left_alone(nights: Nights):
    run = nights.run(dry_run=True)
    records = nights.bench.classifiers.records
    version = nights.record.latest
    run = run.model_copy(update={"challenger": version.number, "champion": 9})

    with pytest.raises(Conflict, match="was moved during the run"):
        promote(records, run, alias="champion", now=NOW)


def test_a_run_whose_alias_moved_before_its_promotion_is_rejected(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    nights.run()
    nights.bring("tuesday", rows(60, 60))
    nights.set(gate=Gate(minimum_gain=-1.0, maximum_ece=None))
    apply = Conclusion.apply

    def moved(self: Conclusion, run: Run, **said: Any) -> Run:
        roll_back(nights.bench.classifiers.records, ME, nights.id, alias="champion")
        return apply(self, run, **said)

    monkeypatch.setattr(Conclusion, "apply", moved)
    run = nights.run()

    assert (run.status, nights.record.aliases["champion"]) == ("rejected", 1)
    assert run.decision is not None
    assert "was moved during the run" in run.decision.reasons[0]
    assert nights.store.run(ME, nights.id, run.id) == run


def test_the_embeddings_of_the_holdout_are_kept(nights: Nights):
    nights.run()
    nights.bring("tuesday", rows(60, 20))
    ran = nights.bench.encoder.ran

    run = nights.run()

    assert nights.bench.encoder.ran - ran == run.counts.new + run.counts.held_out


def test_of_a_holdout_that_becomes_a_file_all_rows_are_embedded(nights: Nights):
    nights.run()  # keeps embeddings of the share that it held out
    nights.bring("holdout", rows(500, 80))
    nights.bring("tuesday", rows(60, 20))
    nights.set(
        sources=(Source(url=f"{LAKE}tuesday.csv"),),
        holdout=Holdout(share=None, url=f"{LAKE}holdout.csv"),
    )
    ran = nights.bench.encoder.ran

    run = nights.run()

    assert run.counts.holdout == 80
    assert nights.bench.encoder.ran - ran == run.counts.new + run.counts.holdout
