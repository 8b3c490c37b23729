"""A worker on in-memory ports that classifies by hashing and learns nothing but labels."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from shared import object_keys
from shared.batches import BatchRequest, DryRunRequest
from shared.errors import PigeonholeError
from shared.job_kinds import Body
from shared.jobs import Fail, Finalise, Job, Progress, Settle, Start, Succeed, advance
from shared.member_reports import WorkerReport
from shared.messages import (
    Call,
    Reply,
    Submission,
    decode,
    encode,
    failure_of,
)
from shared.ports import FINALISE, Claim
from shared.types import (
    Answer,
    ClassifyRequest,
    ClassifyResult,
    JobKind,
    JobResult,
    Question,
    Usage,
)
from tests.fakes import FakeReplies, FakeStore
from tests.prefixed_ledger import PrefixedLedger
from tests.tiny_batches import TinyBatches
from tests.tiny_trainer import TinyTrainer
from workers.handlers.example_files import ExampleFiles
from workers.job_completion.purge_inputs import forget


class TinyWorker:
    """Answers a doorbell, in the thread that rings it.

    `asleep` makes it do nothing; `error` makes it refuse everything.
    """

    def __init__(
        self,
        ledger: PrefixedLedger,
        replies: FakeReplies,
        store: FakeStore,
        example_files: ExampleFiles,
    ) -> None:
        self._ledger, self._replies, self._store = ledger, replies, store
        self.asleep = False
        self.error: Exception | None = None
        self.calls: list[Call] = []
        self.trainer = TinyTrainer(store, example_files)
        self.batches = TinyBatches(store)
        queues = ("cpu.standard.tiny", "cpu.train.tiny")
        report = WorkerReport(
            device="cpu", queues=queues, models=("tiny",), revisions={"tiny": "1"}
        )
        ledger.report("worker", "tiny", encode(report), ttl_s=3600)
        ledger.report("keeper", "tiny", b"{}", ttl_s=3600)

    def drain(self, queue: str) -> None:
        while not self.asleep:
            taken = self._ledger.claim(queue, "tiny", calls=8, parts=1, lease_s=10, leaving=True)
            for message in taken.messages:
                self._answer(decode(Call, message))
            for claim in taken.claims:
                self._run(claim)
            if not taken:
                return

    def _answer(self, call: Call) -> None:
        self.calls.append(call)
        try:
            reply = Reply(result=self._classified(call.body))
        except PigeonholeError as exc:
            reply = Reply(failure=failure_of(exc))
        self._replies.send([(call.reply_to, encode(reply))], keep_s=60)

    def _run(self, claim: Claim) -> None:
        job = self._ledger.record(claim.job_id)
        assert job is not None
        now = datetime.now(UTC)
        if claim.task == FINALISE:
            self._end(job, advance(job, Settle(), now))
            return
        data = self._store.get(object_keys.request(job.account, job.id)).data
        running = advance(advance(job, Start(), now), Finalise(), now)
        try:
            result, progress = self._result(job, decode(Submission, data).body)
        except PigeonholeError as exc:
            self._end(job, advance(running, Fail(error=failure_of(exc)), now))
            return
        self._store.put(object_keys.result(job.account, job.id), encode(result))
        self._end(job, advance(running, Succeed(progress=progress, usage=result.usage), now))

    def _end(self, old: Job, new: Job) -> None:
        self._store.put(object_keys.job(new.account, new.id), encode(new))
        self._ledger.replace(old, new)
        self._ledger.finish_job(new, keep_s=3600)
        if new.kind is not JobKind.IMPORT:  # tests look at what was imported
            forget(self._store, new.account, new.id)
        self._store.delete(object_keys.open_marker(new.id))

    def _result(self, job: Job, body: Body) -> tuple[JobResult, Progress]:
        done = job.progress.model_copy(update={"completed": job.progress.total})
        if isinstance(body, ClassifyRequest):
            return self._classified(body), done
        if self.error is not None:
            raise self.error
        if isinstance(body, DryRunRequest):
            return self.batches.tried(job.account, body.batch), done
        if isinstance(body, BatchRequest):
            made, total = self.batches.run(job, body)
            failed = sum(made.codes.values())
            return made, Progress(total=total, completed=total - failed, failed=failed)
        return self.trainer.run(job, body), done

    def _classified(self, request: ClassifyRequest) -> ClassifyResult:
        if self.error is not None:
            raise self.error
        learnt = request.classifier and self.trainer.labels(request.classifier)
        questions = (Question(labels=learnt),) if learnt else request.questions
        refused = {each.index for each in request.refused}
        answers = tuple(
            ()
            if i in refused
            else tuple(_answered(request, item.text, q.labels) for q in questions)
            for i, item in enumerate(request.items)
        )
        texts = sum(len(item.text.split()) for item in request.items)
        labels = sum(len(question.labels) for question in request.questions)
        return ClassifyResult(
            answers=answers,
            usage=Usage(input_tokens=texts, label_tokens=labels),
            labels=learnt,
            failed=request.refused,
            item_tokens=tuple(len(item.text.split()) for item in request.items),
            revision="1",
        )


def _answered(request: ClassifyRequest, text: str, labels: tuple[str, ...]) -> Answer:
    """Scores that depend on nothing but text and label; thresholds and top_k are applied."""
    weights = [_hash(text, label) for label in labels]
    scores = [weight / sum(weights) for weight in weights]
    ranked = sorted(range(len(labels)), key=lambda i: -scores[i])[: request.top_k]
    kept = {
        i
        for i in ranked
        if request.threshold is None or scores[i] >= (request.threshold.of(labels[i]) or 0)
    }
    first, second = sorted([*scores, 0.0], reverse=True)[:2]
    return Answer(
        best=next((i for i in ranked if i in kept), None),
        scores=tuple(s if i in kept else None for i, s in enumerate(scores)),
        margin=round(first - second, 6) if request.return_uncertainty else None,
    )


def _hash(text: str, label: str) -> float:
    digest = hashlib.blake2b(f"{text}\0{label}".encode(), digest_size=4).digest()
    return 1.0 + int.from_bytes(digest, "big") / 2**32
