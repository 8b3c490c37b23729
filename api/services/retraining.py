"""The use cases of retraining: its settings, runs by hand, promotion and rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from api.services.caller import Caller
from api.services.classifiers import ClassifierService
from api.services.files import FileService
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from shared import ids
from shared.classifier_record import PREVIOUS, Classifier, check_aliases
from shared.cron import check_schedule
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.jobs import Job, State
from shared.normal_form import LabelSpellings, normal_form
from shared.ports import Buckets, ObjectStore
from shared.promotion import live_version, promote, record_rollback, reject, roll_back
from shared.retraining import (
    ENDED,
    Decision,
    RetrainingRecord,
    RetrainingSettings,
    RetrainingState,
    RetrainRequest,
    Rollback,
    Run,
    Source,
    run_id_of,
)
from shared.retraining_store import RetrainingStore
from shared.validation import inner, refuse, shown
from shared.webhook_store import WebhookStore
from shared.webhooks import Event

_LOOKED_AT_BYTES = 65_536  # at both ends of a holdout file, for the name of its label column


@dataclass(frozen=True, kw_only=True)
class RetrainingService:
    """Retraining as accounts see it. `deadline_s` is the longest time of a run."""

    store: ObjectStore
    classifiers: ClassifierService
    files: FileService
    buckets: Buckets
    submit: JobSubmission
    jobs: JobService
    webhooks: WebhookStore
    deadline_s: float
    clock: Callable[[], float]

    @property
    def records(self) -> RetrainingStore:
        """The records on the store."""
        return RetrainingStore(store=self.store)

    def get(self, account: str, ref: str) -> tuple[RetrainingRecord, RetrainingState]:
        """The retraining of a classifier, and its state; `active` only of a run that goes on.

        Raises:
            NotFound: The account has no such classifier, or it has no retraining.
        """
        classifier = self.classifiers.whole(account, ref)
        record, _ = self.records.load(account, classifier.id)
        state = self.records.state(account, classifier.id)
        if state.active is not None and self.records.has_ended(account, state.active):
            state = state.model_copy(update={"active": None})
        return record, state

    def put(self, account: str, ref: str, settings: RetrainingSettings) -> RetrainingRecord:
        """Set the retraining of a classifier.

        Raises:
            InvalidRequest: A setting is wrong: names the field and what to do.
            NotFound: The account has no such classifier.
        """
        classifier = self.classifiers.whole(account, ref)
        self._check(classifier, settings)
        now = self._now()
        try:
            before, etag = self.records.load(account, classifier.id)
        except NotFound:
            record = RetrainingRecord(
                account=account,
                classifier_id=classifier.id,
                settings=settings,
                created_at=now,
                updated_at=now,
            )
            return self.records.reschedule(record, None, after=now)
        return self._changed(before, etag, settings)

    def patch(
        self,
        account: str,
        ref: str,
        change: Callable[[RetrainingSettings], RetrainingSettings],
    ) -> RetrainingRecord:
        """Change the retraining of a classifier.

        Raises:
            InvalidRequest: A setting is wrong.
            Conflict: Another call changed it meanwhile.
            NotFound: As for `get`.
        """
        classifier = self.classifiers.whole(account, ref)
        before, etag = self.records.load(account, classifier.id)
        settings = change(before.settings)
        self._check(classifier, settings)
        return self._changed(before, etag, settings)

    def delete(self, account: str, ref: str) -> None:
        """Delete the retraining with its runs; the classifier and its versions stay.

        Raises:
            Conflict: A run has not ended.
            NotFound: As for `get`.
        """
        record, state = self.get(account, ref)
        if state.active is not None:
            raise Conflict(f"the run {state.active} has not ended; cancel its job first")
        self.records.delete(account, record.classifier_id)

    def start(self, ref: str, *, dry_run: bool, caller: Caller, request_id: str) -> Job:
        """Start a run now.

        Raises:
            Conflict: Another run has not ended.
            NotFound: As for `get`.
        """
        account = caller.account
        classifier = self.classifiers.whole(account, ref)
        record, _ = self.records.load(account, classifier.id)
        now = self.clock()
        job_id = ids.job_id(int(now * 1000), ids.random_bits())
        request = RetrainRequest(
            model=live_version(classifier, record.settings.alias).model,
            classifier_id=classifier.id,
            dry_run=dry_run,
            deadline=now + self.deadline_s,
        )
        self.records.begin(account, classifier.id, run_id_of(job_id))
        return self.submit.enqueue(
            request, caller=caller, request_id=request_id, dialect="native", job_id=job_id
        )

    def runs(self, account: str, ref: str, *, after: str, limit: int) -> tuple[list[Run], bool]:
        """Runs after the one called `after`, newest first; and whether there are more."""
        classifier = self.classifiers.whole(account, ref)
        found = []
        for run_id in islice(self.records.run_ids(account, classifier.id, after=after), limit + 1):
            with suppress(NotFound):
                found.append(self._as_it_stands(self.records.run(account, classifier.id, run_id)))
        return found[:limit], len(found) > limit

    def run(self, account: str, ref: str, run_id: str) -> Run:
        """One run.

        Raises:
            NotFound: The classifier has no such run.
        """
        classifier = self.classifiers.whole(account, ref)
        return self._as_it_stands(self.records.run(account, classifier.id, run_id))

    def decide(self, account: str, ref: str, run_id: str, *, promoted: bool) -> Run:
        """Promote or reject the challenger of a run that waits for a person.

        Raises:
            Conflict: The run does not wait, or the alias has moved since.
            NotFound: As for `run`.
        """
        run = self.run(account, ref, run_id)
        wanted = "promoted" if promoted else "rejected"
        if run.status == wanted:
            return run
        if run.status != "waiting":
            raise Conflict(f"the run is {run.status}; only a run that is waiting can be decided")
        record, _ = self.records.load(account, run.classifier_id)
        if promoted:
            promote(self.classifiers.records, run, alias=record.settings.alias, now=self._now())
        else:
            reject(self.classifiers.records, run)
        reasons = run.decision.reasons if run.decision else ()
        decision = Decision(
            outcome="promote" if promoted else "reject", reasons=(f"{wanted} by hand", *reasons)
        )

        def decided(now: Run) -> Run:
            changes = {"status": wanted, "decision": decision}
            return now.model_copy(update=changes) if now.status == "waiting" else now

        run = self.records.change_run(run, decided)
        event: Event = "retraining.promoted" if promoted else "retraining.rejected"
        self.webhooks.announce_run(run, event, self._now())
        return run

    def roll_back(self, account: str, ref: str) -> tuple[Classifier, str]:
        """Move the alias back to the version before the last promotion; the alias.

        Raises:
            Conflict: There is no promotion to undo.
            NotFound: As for `get`.
        """
        record, _ = self.get(account, ref)
        classifier, _ = self.classifiers.records.load(account, record.classifier_id)
        live = live_version(classifier, record.settings.alias)
        number = roll_back(
            self.classifiers.records,
            account,
            record.classifier_id,
            alias=record.settings.alias,
            live=live.number,
        )
        if live.promoted_by is not None:
            rollback = Rollback(
                run=live.promoted_by,
                automatic=False,
                from_version=live.number,
                to_version=number,
                reason="rolled back by hand",
                at=self._now(),
            )
            with suppress(NotFound):
                run = self.records.run(account, record.classifier_id, live.promoted_by)
                record_rollback(self.records, self.webhooks, run, rollback)
        classifier, _ = self.classifiers.records.load(account, record.classifier_id)
        return classifier, record.settings.alias

    def _as_it_stands(self, run: Run) -> Run:
        """The run; where its job has ended without it, as the job did."""
        if run.status in ENDED:
            return run
        try:
            job = self.jobs.get(run.account, run.job_id)
        except NotFound:
            return run.model_copy(update={"status": "failed", "error": "its job has expired"})
        if not job.state.terminal or job.state is State.SUCCEEDED:
            return run
        cancelled = job.state is State.CANCELLED
        error = job.error.detail if job.error else None
        if job.state is State.EXPIRED:
            error = "it did not end within PIGEONHOLE_RETRAINING_DEADLINE_S"
        status = "cancelled" if cancelled else "failed"
        changes = {"status": status, "error": error, "finished_at": job.finished_at}
        return run.model_copy(update=changes)

    def _changed(
        self, before: RetrainingRecord, etag: str, settings: RetrainingSettings
    ) -> RetrainingRecord:
        now = self._now()
        after = before.model_copy(update={"settings": settings, "updated_at": now})
        return self.records.reschedule(after, etag, after=now)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def _check(self, classifier: Classifier, settings: RetrainingSettings) -> None:
        """Refuse settings with which a run would fail.

        Raises:
            InvalidRequest: One of them is wrong.
        """
        if settings.schedule is not None:
            check_schedule(settings.schedule, settings.timezone)
        else:
            check_schedule("0 0 * * *", settings.timezone)
        if settings.alias == PREVIOUS:
            refuse("alias", "must not be `previous`, which names the version before a promotion")
        _within(
            "alias", lambda: check_aliases(classifier, {settings.alias: classifier.latest.number})
        )
        self.submit.limits.check_num_iters(settings.num_iters)
        if settings.model is not None:
            self.submit.catalogue.find(settings.model)
        for index, source in enumerate(settings.sources):
            self._check_place(classifier.account, source, f"sources[{index}]")
        self._check_holdout(classifier.account, settings)
        self._check_gate(classifier, settings)
        if settings.method != "update" and not (
            classifier.keep_examples and self.classifiers.keeps_examples(classifier)
        ):
            refuse(
                "method",
                f"{settings.method!r} needs the examples of the classifier, and none are kept: "
                'train it with `keep_examples: true`, or use the method "update"',
            )

    def _check_place(self, account: str, source: Source, field: str) -> None:
        if source.url:
            _within(f"{field}.url", lambda: self.buckets.check(source.url, write=False))
        elif source.file_id:
            with suppress(NotFound):
                self.files.get(account, source.file_id)
                return
            refuse(f"{field}.file_id", "no such file; it may have expired")

    def _check_holdout(self, account: str, settings: RetrainingSettings) -> None:
        holdout = settings.holdout
        place = Source(url=holdout.url, file_id=holdout.file_id)
        self._check_place(account, place, "holdout")
        if holdout.url:
            _within("holdout.url", lambda: self.buckets.find(holdout.url))
        if not holdout.file_id:
            return
        file = self.files.get(account, holdout.file_id)
        ends = [(0, min(file.bytes, _LOOKED_AT_BYTES))]
        ends.append((max(0, file.bytes - _LOOKED_AT_BYTES), file.bytes))
        for start, end in ends:
            with self.files.open(account, file.id, start=start, end=end) as stream:
                if _may_have_column(stream.read(), settings.columns.label):
                    return
        refuse(
            "holdout.file_id",
            f"has no column {shown(settings.columns.label)!r} with labels; name the column in "
            "`columns.label`",
        )

    def _check_gate(self, classifier: Classifier, settings: RetrainingSettings) -> None:
        labels = LabelSpellings(classifier.labels)
        gate = settings.gate
        named = [("gate.label", gate.label)] if gate.label is not None else []
        _check_spellings("gate.costs", gate.costs)
        for true, row in gate.costs.items():
            named += [(f"gate.costs[{shown(each)}]", each) for each in (true, *row)]
            _check_spellings(inner("gate.costs", true), row)
        for field, label in named:
            if labels.get(label) is None:
                refuse(field, "is not a label of the classifier; check its spelling")


def _may_have_column(data: bytes, name: str) -> bool:
    r"""Whether a piece of a file has the name of a column, as far as that can be told unread.

    Only a run can tell it of compressed files, of UTF-16 and UTF-32, of names that are not ASCII in
    other encodings, and of names that JSON escapes.

    >>> _may_have_column(b"text,label", "label"), _may_have_column(b"text,kind", "label")
    (True, False)
    >>> _may_have_column("text,kind".encode("utf-16"), "label")
    True
    """
    if name.encode() in data or not name.isascii():
        return True
    if data.startswith(b"PAR1") or data.endswith(b"PAR1"):  # its names are plain, in the footer
        return False
    return (
        not data or b"\0" in data or b"\\u" in data or data.startswith((b"\x1f\x8b", b"\x28\xb5"))
    )


def _check_spellings(field: str, labels: Iterable[str]) -> None:
    """Refuse a label that stands twice, in two spellings."""
    seen: set[str] = set()
    for label in labels:
        if (form := normal_form(label)) in seen:
            refuse(inner(field, label), "stands twice, in two spellings of one label")
        seen.add(form)


def _within(field: str, check: Callable[[], object]) -> None:
    """Name the field of the settings in an error about something they name."""
    try:
        check()
    except InvalidRequest as exc:
        message = exc.fields[0].message if exc.fields else exc.detail
        refuse(field, message)
