from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.classifier_record import (
    MAX_ALIASES,
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    Classifier,
    check_aliases,
    check_description,
    check_model,
    check_name,
    learnt_after,
    promoted,
    rejected,
    rolled_back,
    with_version,
)
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import parse_ref
from shared.messages import decode, encode
from tests.classifiers import BEGAN, a_record, a_version

# What is done to a record: train, roll back to the n-th version that is kept, name one, forget one.
STEPS = st.lists(
    st.one_of(
        st.just(("train", 0)),
        st.tuples(st.sampled_from(["back", "alias", "unalias"]), st.integers(0, 9)),
    ),
    max_size=30,
)


def done(record: Classifier, step: tuple[str, int], *, keep: int) -> Classifier:
    what, which = step
    if what == "train":
        version = a_version(record.latest.number + 1)
        version = version.model_copy(update={"learnt": learnt_after(record, version.number)})
        return with_version(record, version, labels=("x", "y"), keep=keep)
    to = record.versions[which % len(record.versions)]
    if what == "back":
        return rolled_back(record, to, labels=("x",), now=BEGAN, keep=keep)
    alias = {f"a{which}": to.number if what == "alias" else None}
    return record.model_copy(update={"aliases": check_aliases(record, alias)})


class TestVersions:
    @given(STEPS, st.integers(1, 4))
    def test_of_any_history_are_gapless_at_the_end_and_the_aliases_hold(
        self, steps: list[tuple[str, int]], keep: int
    ):
        record = a_record()
        made = 1

        for step in steps:
            before = record
            record = done(record, step, keep=keep)
            made += step[0] in {"train", "back"}

            numbers = [version.number for version in record.versions]
            assert record.latest.number == made
            assert numbers == sorted(set(numbers))
            assert set(numbers[-keep:]) == set(range(made + 1 - min(keep, len(numbers)), made + 1))
            assert set(record.aliases.values()) <= set(numbers)
            kept = set(record.aliases.values()) | set(numbers[-keep:])
            if made > before.latest.number:
                assert set(numbers) == kept
            learnt = [n for first, last in record.latest.learnt for n in range(first, last + 1)]
            assert learnt == sorted(set(learnt))

    def test_are_found_by_number_alias_or_as_the_latest(self):
        record = a_record(versions=3).model_copy(update={"aliases": {"champion": 2}})

        assert record.find(parse_ref("spam")).number == 3
        assert record.find(parse_ref("spam@v1")).number == 1
        assert record.find(parse_ref("spam@champion")).number == 2

    @pytest.mark.parametrize(
        ("ref", "says"),
        [("spam@v9", "no version 9; available versions: 1 to 3"), ("spam@best", "no alias 'best'")],
    )
    def test_that_are_not_there_are_not_found(self, ref: str, says: str):
        with pytest.raises(NotFound, match=says):
            a_record(versions=3).find(parse_ref(ref))

    def test_that_are_kept_are_told_without_those_between_that_went(self):
        record = a_record(versions=3).model_copy(update={"aliases": {"champion": 1}})
        for number in range(4, 24):
            record = with_version(record, a_version(number), labels=("x",), keep=20)

        with pytest.raises(NotFound, match=r"no version 2; available versions: 1, 4 to 23$"):
            record.find(parse_ref("spam@v2"))
        with pytest.raises(InvalidRequest, match="available versions: 1, 4 to 23"):
            check_aliases(record, {"best": 2})
        assert a_record().kept == "1"

    def test_follow_each_other_without_a_gap(self):
        with pytest.raises(ValueError, match="version 3 cannot follow 1"):
            with_version(a_record(), a_version(3), labels=("x",), keep=5)

    def test_beyond_those_kept_go_unless_an_alias_names_them(self):
        record = a_record(versions=4).model_copy(update={"aliases": {"champion": 1}})

        record = with_version(record, a_version(5), labels=("x",), keep=2)

        assert [version.number for version in record.versions] == [1, 4, 5]
        assert record.labels == ("x",)
        assert record.updated_at == record.latest.created_at

    def test_are_made_once_by_a_job_of_which_the_last_few_hundred_are_known(self):
        record = a_record()

        for number in range(2, 300):
            record = with_version(
                record, a_version(number), labels=("x",), keep=1, job_id=f"job_{number}"
            )

        assert len(record.jobs) == 256
        assert record.jobs["job_299"] == 299
        assert "job_43" not in record.jobs


class TestRollback:
    def test_adds_a_version_that_shares_the_file_of_the_old_one(self):
        record = a_record(versions=3)

        back = rolled_back(record, record.versions[0], labels=("x",), now=BEGAN, keep=2)

        assert back.latest.number == 4
        assert back.latest.made_by == "rollback"
        assert back.latest.of == 1
        assert back.latest.file == record.versions[0].file
        assert back.latest.samples == record.versions[0].samples
        assert back.labels == ("x",)
        # Version 1 itself is no longer kept, its file is.
        assert [version.number for version in back.versions] == [3, 4]
        assert record.versions[0].file in back.files()

    def test_training_goes_on_without_what_was_learnt_since(self):
        record = a_record(versions=3)

        back = rolled_back(record, record.versions[0], labels=("x",), now=BEGAN, keep=5)

        assert back.latest.learnt == ((1, 1),)
        assert learnt_after(back, 5) == ((1, 1), (5, 5))
        assert learnt_after(record, 4) == ((1, 4),)


class TestWhatLedToAVersion:
    def after(self, *steps: tuple[str, int], keep: int = 20) -> list[int]:
        """The numbers of those that led to the latest version."""
        record = a_record()
        for step in steps:
            record = done(record, step, keep=keep)
        return [each.number for each in record.led_to(record.latest)]

    def test_are_all_that_were_trained_before(self):
        record = a_record(versions=4)

        assert record.led_to(record.versions[2]) == record.versions[:3]
        assert record.led_to(record.versions[0]) == record.versions[:1]

    def test_are_not_those_that_were_rolled_away(self):
        train = ("train", 0)

        assert self.after(train, train, ("back", 0)) == [1, 4]
        assert self.after(train, train, ("back", 0), train) == [1, 4, 5]
        assert self.after(train, ("back", 0), train, ("back", 1)) == [1, 2, 3, 5]

    def test_are_those_that_are_kept(self):
        steps = [("alias", 0), *[("train", 0)] * 4]

        assert self.after(*steps, keep=2) == [1, 4, 5]

    def test_are_not_those_of_another_model(self):
        record = a_record(versions=2)
        rebuilt = a_version(3, model="big").model_copy(
            update={"made_by": "rebuild", "learnt": record.latest.learnt}
        )
        record = with_version(record, rebuilt, labels=("x", "y"), keep=20)
        fourth = a_version(4, model="big").model_copy(update={"learnt": learnt_after(record, 4)})
        record = with_version(record, fourth, labels=("x", "y"), keep=20)

        assert [each.number for each in record.led_to(record.latest)] == [3, 4]
        assert [each.number for each in record.led_to(record.versions[1])] == [1, 2]

    def test_is_an_import_with_what_it_was_taught(self):
        record = a_record()
        imported = record.latest.model_copy(update={"made_by": "import", "learnt": ()})
        record = record.model_copy(update={"versions": (imported,)})
        for _ in range(2):
            record = done(record, ("train", 0), keep=20)

        assert [each.number for each in record.led_to(record.latest)] == [2, 3]
        assert record.led_to(imported) == (imported,)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a", "Spam-2", "größe", "x" * MAX_NAME_CHARS, "import", "v3", "a.b", "猫"]
    )
    def test_that_are_allowed(self, name: str):
        check_name(name)

        assert parse_ref(f"{name}@v3").name == name

    @pytest.mark.parametrize(
        "name",
        [
            *("", ".", "..", "a b", "a@b", "a/b", "a\tb", "a\n", "a\x00", "a\u200bb", "a\u202eb"),
            "x" * (MAX_NAME_CHARS + 1),
            "2f1b7c1e-9a51-4c0b-8a53-0d3c5e7f9a10",
            "2F1B7C1E-9A51-4C0B-8A53-0D3C5E7F9A10",
        ],
    )
    def test_that_are_not(self, name: str):
        with pytest.raises(InvalidRequest) as caught:
            check_name(name)

        assert caught.value.fields[0].field == "name"

    @given(st.text(max_size=20))
    def test_that_are_allowed_can_be_referred_to(self, name: str):
        try:
            check_name(name)
        except InvalidRequest:
            return

        assert parse_ref(name) == (name, None, None)
        assert parse_ref(f"{name}@champion") == (name, None, "champion")


class TestAliases:
    def test_are_set_moved_and_taken_away(self):
        record = a_record(versions=2).model_copy(update={"aliases": {"a": 1, "b": 1}})

        after = check_aliases(record, {"a": 2, "b": None, "c": 1, "never-there": None})

        assert after == {"a": 2, "c": 1}
        assert record.aliases == {"a": 1, "b": 1}

    @pytest.mark.parametrize("alias", ["", "v3", "A", "a b", "3a", "-a", "a" * 65, "a\n"])
    def test_have_a_form(self, alias: str):
        with pytest.raises(InvalidRequest, match="must be a name such as 'champion'"):
            check_aliases(a_record(), {alias: 1})

    def test_mean_a_version_that_is_kept(self):
        with pytest.raises(InvalidRequest, match="no version 2") as caught:
            check_aliases(a_record(), {"champion": 2})

        assert caught.value.fields[0].field == "aliases[champion]"

    def test_are_few(self):
        many = {f"a{i}": 1 for i in range(MAX_ALIASES)}

        assert len(check_aliases(a_record(), many)) == MAX_ALIASES
        with pytest.raises(InvalidRequest, match="at most 16"):
            check_aliases(a_record(), {**many, "one-more": 1})


def test_a_description_is_not_longer_than_allowed():
    check_description("x" * MAX_DESCRIPTION_CHARS)

    with pytest.raises(InvalidRequest, match="at most 2000 characters are allowed, got 2001"):
        check_description("x" * (MAX_DESCRIPTION_CHARS + 1))


def test_another_model_is_a_conflict():
    check_model(a_record(), "tiny")

    with pytest.raises(Conflict, match="was trained with tiny, not with big"):
        check_model(a_record(), "big")


@pytest.mark.parametrize("make", [a_record, lambda: a_record(name="größe", versions=3)])
def test_a_record_is_stored_and_read_back(make: Callable[[], Classifier]):
    record = make()

    assert decode(Classifier, encode(record)) == record


def test_latest_is_no_alias_that_can_be_set():
    with pytest.raises(InvalidRequest, match="is reserved"):
        check_aliases(a_record(), {"latest": 1})


class TestCandidates:
    def with_candidate(self, record: Classifier, number: int, *, keep: int = 20) -> Classifier:
        version = a_version(number).model_copy(update={"candidate": True})
        return with_version(record, version, labels=("x", "y", "z"), keep=keep)

    def test_are_not_live(self):
        record = self.with_candidate(a_record(versions=2), 3)

        assert (record.latest.number, record.next_number) == (2, 4)
        assert record.labels == ("x", "y")
        assert record.find(parse_ref("spam@v3")).candidate

    def test_become_live_where_a_run_promotes_them(self):
        record = self.with_candidate(a_record(versions=2), 3)

        after = promoted(
            record, record.versions[2], alias="champion", run="run", labels=("z",), now=BEGAN
        )

        assert after.aliases == {"champion": 3, "previous": 2}
        assert (after.latest.number, after.latest.promoted_by, after.labels) == (3, "run", ("z",))

    def test_do_not_replace_a_later_version(self):
        record = self.with_candidate(a_record(), 2)
        record = with_version(record, a_version(3), labels=("x", "y"), keep=20)

        after = promoted(
            record, record.versions[1], alias="champion", run="run", labels=("z",), now=BEGAN
        )

        assert (after.aliases["champion"], after.latest.number) == (2, 3)
        assert after.labels == ("x", "y")

    def test_that_are_rejected_go_before_older_versions(self):
        record = a_record(versions=3)
        for number in (4, 5):
            record = rejected(self.with_candidate(record, number), number, run=f"run {number}")

        record = with_version(record, a_version(6), labels=("x", "y"), keep=5)
        assert [each.number for each in record.versions] == [1, 2, 3, 5, 6]
        assert record.versions[3].rejected_by == "run 5"
        record = with_version(record, a_version(7), labels=("x", "y"), keep=5)
        assert [each.number for each in record.versions] == [1, 2, 3, 6, 7]

    def test_leave_the_latest_version_where_few_are_kept(self):
        record = a_record(versions=2)
        for number in (3, 4, 5):
            record = self.with_candidate(record, number, keep=2)

        assert [each.number for each in record.versions] == [2, 4, 5]
        assert record.latest.number == 2
