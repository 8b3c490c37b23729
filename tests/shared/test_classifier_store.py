from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import ids, object_keys
from shared.adapters.directory.object_store import DirectoryStore
from shared.classifier_record import Classifier, digest, with_version
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict, NotFound, PigeonholeError, StoreUnavailable
from shared.ids import parse_ref
from shared.messages import encode
from shared.ports import ObjectStore, StoredObject
from tests.classifiers import a_record, a_version, put_classifier
from tests.clock import Clock
from tests.fakes import FakeStore

HOUR_S = 3600.0


@pytest.fixture(params=["fake", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return FakeStore() if request.param == "fake" else DirectoryStore(tmp_path / "store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(store: ObjectStore, clock: Clock) -> ClassifierStore:
    return ClassifierStore(store=store, clock=clock)


def renamed(name: str | None) -> Callable[[Classifier], Classifier]:
    return lambda record: record.model_copy(update={"name": name})


def trained(record: Classifier) -> Classifier:
    version = a_version(record.latest.number + 1)
    return with_version(record, version, labels=record.labels, keep=2)


def at_once(*work: Callable[[], object]) -> list[Exception | None]:
    """Run all at the same time, each in a thread of its own; what each raised."""
    barrier = threading.Barrier(len(work))
    raised: list[Exception | None] = [None] * len(work)

    def run(index: int) -> None:
        barrier.wait()
        try:
            work[index]()
        except PigeonholeError as exc:
            raised[index] = exc

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


class TestFinding:
    def test_by_id_and_by_name(self, records: ClassifierStore):
        record = put_classifier(records.store, name="spam")

        assert records.own("acme", parse_ref(record.id)) == record
        assert records.own("acme", parse_ref("spam@v1")) == record

    @pytest.mark.parametrize("account", ["acme", "other"])
    def test_what_is_not_there_or_is_anothers_reads_the_same(
        self, records: ClassifierStore, account: str
    ):
        record = put_classifier(records.store, account="third", name="spam")

        for ref in ("spam", record.id, "nothing", ids.classifier_id()):
            with pytest.raises(NotFound, match=r"^no such classifier$"):
                records.usable(account, parse_ref(ref))

    def test_a_public_one_is_used_by_others_by_its_id_only(self, records: ClassifierStore):
        record = put_classifier(records.store, name="spam", access="public")

        assert records.usable("other", parse_ref(f"{record.id}@v1")) == record
        with pytest.raises(NotFound):
            records.usable("other", parse_ref("spam"))
        with pytest.raises(NotFound):
            records.own("other", parse_ref(record.id))

    def test_one_that_is_private_again_is_used_by_no_other(self, records: ClassifierStore):
        record = put_classifier(records.store, access="public")
        ref = parse_ref(record.id)

        records.change("acme", record.id, lambda now: now.model_copy(update={"access": "private"}))
        with pytest.raises(NotFound):
            records.usable("other", ref)

        records.change("acme", record.id, lambda now: now.model_copy(update={"access": "public"}))
        assert records.usable("other", ref).id == record.id

    def test_all_are_those_with_a_record(self, records: ClassifierStore):
        made = {put_classifier(records.store).id for _ in range(3)}
        put_classifier(records.store, account="other")
        left = ids.classifier_id()
        records.store.put(object_keys.weights("acme", left, "1-left"), b"weights")

        assert {record.id for record in records.all("acme")} == made
        assert set(records.ids("acme")) == {*made, left}

    def test_the_report_of_a_version(self, records: ClassifierStore):
        record = put_classifier(records.store, versions=2)

        assert records.report(record, record.latest.file).counts == (2, 2)
        with pytest.raises(NotFound, match="was deleted"):
            records.report(record, "gone")


class TestMaking:
    def test_the_same_again_makes_no_other(self, records: ClassifierStore):
        record = a_record(name="spam")

        assert records.create(record)
        assert not records.create(record.model_copy(update={"description": "again"}))
        assert records.own("acme", parse_ref("spam")).description == ""

    def test_of_a_name_that_is_taken_is_a_conflict_and_makes_nothing(
        self, records: ClassifierStore
    ):
        put_classifier(records.store, name="spam")

        with pytest.raises(Conflict, match="another classifier called 'spam'") as caught:
            records.create(a_record(name="spam"))

        assert caught.value.fields[0].field == "name"
        assert len(list(records.all("acme"))) == 1

    def test_accounts_have_their_own_names(self, records: ClassifierStore):
        mine, theirs = (put_classifier(records.store, name="spam", account=a) for a in "ab")

        assert records.own("a", parse_ref("spam")) == mine
        assert records.own("b", parse_ref("spam")) == theirs

    def test_of_one_name_by_eight_at_once_makes_one(self, records: ClassifierStore):
        drafts = [a_record(name="spam") for _ in range(8)]

        raised = at_once(*(lambda d=draft: records.create(d) for draft in drafts))

        assert sum(error is None for error in raised) == 1
        assert all(error is None or isinstance(error, Conflict) for error in raised)
        (made,) = records.all("acme")
        assert records.own("acme", parse_ref("spam")) == made

    def test_a_claim_of_one_who_never_made_his_is_nobodys_after_an_hour(
        self, records: ClassifierStore, clock: Clock
    ):
        records.claim_name("acme", "spam", ids.classifier_id())

        with pytest.raises(Conflict):
            records.create(a_record(name="spam"))
        clock.now += HOUR_S
        assert records.create(a_record(name="spam"))


class TestChanging:
    def test_by_eight_at_once_loses_nothing(self, records: ClassifierStore):
        record = put_classifier(records.store)

        def train() -> None:
            for _ in range(5):
                records.change("acme", record.id, trained)

        def describe(word: str) -> None:
            for _ in range(5):
                records.change(
                    "acme",
                    record.id,
                    lambda now: now.model_copy(update={"description": now.description + word}),
                )

        raised = at_once(*[train] * 4, *(lambda w=word: describe(w) for word in "abcd"))

        after, _ = records.load("acme", record.id)
        assert raised == [None] * 8
        assert after.latest.number == 21
        assert sorted(after.description) == sorted("abcd" * 5)

    def test_to_what_it_is_writes_nothing(self, records: ClassifierStore):
        record = put_classifier(records.store)
        _, etag = records.load("acme", record.id)

        assert records.change("acme", record.id, lambda now: now) == record
        assert records.load("acme", record.id)[1] == etag

    def test_deletes_the_files_of_versions_that_go(self, records: ClassifierStore):
        record = put_classifier(records.store, versions=2)

        after = records.change("acme", record.id, trained)

        listed = set(records.store.list(object_keys.versions("acme", record.id)))
        kept = record.latest.file
        assert after.files() == {kept, after.latest.file}
        assert listed == {
            object_keys.weights("acme", record.id, kept),
            object_keys.report("acme", record.id, kept),
        }

    def test_of_one_that_was_deleted_meanwhile_is_not_found(self, records: ClassifierStore):
        record = put_classifier(records.store)

        def late(now: Classifier) -> Classifier:
            records.delete(record)
            return trained(now)

        with pytest.raises(NotFound):
            records.change("acme", record.id, late)

        assert list(records.all("acme")) == []

    def test_that_is_refused_leaves_it_as_it_was(self, records: ClassifierStore):
        record = put_classifier(records.store, name="spam")
        put_classifier(records.store, name="ham")

        with pytest.raises(Conflict):
            records.change("acme", record.id, renamed("ham"))

        assert records.own("acme", parse_ref("spam")) == record

    def test_gives_up_where_others_are_always_faster(self):
        store = FakeStore()
        records = ClassifierStore(store=store)
        record = put_classifier(store)
        place = object_keys.classifier("acme", record.id)

        def slow(now: Classifier) -> Classifier:
            store.put(place, encode(trained(now)))
            return trained(now)

        with pytest.raises(Conflict, match="too many concurrent changes") as caught:
            records.change("acme", record.id, slow)

        assert caught.value.retry_after_s == 1


class TestNames:
    def test_the_old_one_is_free_at_once(self, records: ClassifierStore):
        record = put_classifier(records.store, name="spam")

        records.change("acme", record.id, renamed("ham"))

        assert records.own("acme", parse_ref("ham")).id == record.id
        with pytest.raises(NotFound):
            records.own("acme", parse_ref("spam"))
        other = put_classifier(records.store, name="spam")
        assert records.own("acme", parse_ref("spam")) == other

    def test_one_comes_and_goes(self, records: ClassifierStore):
        record = put_classifier(records.store)

        for _ in range(3):
            records.change("acme", record.id, renamed("spam"))
            assert records.own("acme", parse_ref("spam")).id == record.id
            records.change("acme", record.id, renamed(None))
            with pytest.raises(NotFound):
                records.own("acme", parse_ref("spam"))

    def test_eight_classifiers_that_want_one_at_once_do_not_share_it(
        self, records: ClassifierStore
    ):
        made = [put_classifier(records.store, name=f"n{i}") for i in range(8)]

        raised = at_once(
            *(lambda i=each.id: records.change("acme", i, renamed("spam")) for each in made)
        )

        assert sum(error is None for error in raised) == 1
        names = [record.name for record in records.all("acme")]
        assert names.count("spam") == 1
        for record in records.all("acme"):
            assert records.own("acme", parse_ref(record.name or "")).id == record.id

    def test_of_one_classifier_renamed_eight_times_at_once_the_last_one_counts(
        self, records: ClassifierStore
    ):
        record = put_classifier(records.store, name="n0")

        raised = at_once(
            *(lambda n=f"n{i}": records.change("acme", record.id, renamed(n)) for i in range(1, 9))
        )

        now, _ = records.load("acme", record.id)
        assert raised == [None] * 8
        assert records.own("acme", parse_ref(now.name or "")) == now
        for name in {f"n{i}" for i in range(9)} - {now.name}:
            assert records.create(a_record(name=name))

    def test_giving_up_one_that_another_has_taken_over_takes_nothing_from_him(
        self, records: ClassifierStore
    ):
        first = put_classifier(records.store, name="spam")
        records.change("acme", first.id, renamed("ham"))
        other = put_classifier(records.store, name="spam")

        records.free_name("acme", "spam", first.id)

        assert records.own("acme", parse_ref("spam")) == other
        with pytest.raises(Conflict):
            records.create(a_record(name="spam"))

    def test_giving_up_one_that_the_classifier_has_again_changes_nothing(
        self, records: ClassifierStore
    ):
        record = put_classifier(records.store, name="spam")

        records.free_name("acme", "spam", record.id)

        assert records.own("acme", parse_ref("spam")) == record
        with pytest.raises(Conflict):
            records.create(a_record(name="spam"))

    def test_a_trainer_killed_before_the_record_moved_leaves_the_old_name(
        self, records: ClassifierStore
    ):
        record = put_classifier(records.store, name="spam")

        records.claim_name("acme", "ham", record.id)

        assert records.own("acme", parse_ref("spam")) == record
        with pytest.raises(NotFound):
            records.own("acme", parse_ref("ham"))


class TestDeleting:
    def test_leaves_nothing_but_an_old_claim(self, records: ClassifierStore):
        record = put_classifier(
            records.store, name="spam", access="public", versions=3, keep_examples=True
        )

        records.delete(record)

        assert list(records.store.list("")) == [object_keys.name("acme", digest("spam"))]
        assert records.create(a_record(name="spam"))

    def test_is_done_when_the_record_has_gone(self):
        class Failing(FakeStore):
            """Goes away after its first deletion."""

            def delete(self, name: str) -> None:
                super().delete(name)
                self.away = True

        store = Failing()
        records = ClassifierStore(store=store)
        record = put_classifier(store, name="spam", access="public")

        with pytest.raises(StoreUnavailable):
            records.delete(record)
        store.away = False

        for ref in ("spam", record.id):
            with pytest.raises(NotFound):
                records.usable("acme", parse_ref(ref))
        with pytest.raises(NotFound):
            records.usable("other", parse_ref(record.id))

    def test_twice_at_once_is_no_error(self, records: ClassifierStore):
        record = put_classifier(records.store, name="spam", versions=3)

        assert at_once(*[lambda: records.delete(record)] * 4) == [None] * 4


def test_the_record_of_an_outage_is_not_a_missing_one():
    store = FakeStore()
    record = put_classifier(store)
    store.away = True

    with pytest.raises(StoreUnavailable):
        ClassifierStore(store=store).load("acme", record.id)


def test_a_record_that_a_newer_process_wrote_is_not_guessed_at():
    store = FakeStore()
    record = put_classifier(store)
    newer = record.model_copy(update={"schema_number": 99})
    store.objects[object_keys.classifier("acme", record.id)] = StoredObject(
        data=encode(newer), etag="9"
    )

    with pytest.raises(PigeonholeError, match="newer schema"):
        ClassifierStore(store=store).load("acme", record.id)
