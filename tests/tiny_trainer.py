"""Makes real records of classifiers, whose versions hold labels and no weights, for API tests."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from shared import object_keys
from shared.classifier_record import (
    Classifier,
    MadeBy,
    Version,
    check_model,
    learnt_after,
    with_version,
)
from shared.classifier_requests import ImportRequest, RebuildRequest, RelabelRequest
from shared.classifier_store import ClassifierStore
from shared.evaluation_results import EvaluateResult, LabelQuality, ReliabilityBin, UncertainItem
from shared.job_kinds import Body
from shared.jobs import Job
from shared.messages import encode
from shared.relabelling import Relabelling
from shared.training_results import (
    ProgressiveEvaluation,
    TrainingWarning,
    TrainResult,
    VersionReport,
)
from shared.types import (
    ClassifierVersion,
    ClassifyRequest,
    EvaluateRequest,
    Example,
    NewClassifier,
    TrainRequest,
    Usage,
)
from tests.classifier_files import weights_file
from tests.fakes import FakeStore
from workers.handlers.example_files import ExampleFiles

IMPORTED = ("p", "q")
PLOTS = ("confusion_matrix.png", "confusion_matrix.svg", "reliability.png", "reliability.svg")
PROGRESSIVE = ProgressiveEvaluation(
    accuracy=0.5, log_loss=0.7, curve=((0, 0.0), (1, 0.5)), trust={"prior": 1.0}, label_strength=0.4
)


class TinyTrainer:
    """Does what a train, rebuild, import or evaluate job asks, as far as anybody can see."""

    def __init__(self, store: FakeStore, example_files: ExampleFiles) -> None:
        self._store = store
        self._files = example_files
        self.records = ClassifierStore(store=store)
        self.remarks: tuple[TrainingWarning, ...] = ()

    def labels(self, weights: ClassifierVersion) -> tuple[str, ...]:
        """What a version knows."""
        record, _ = self.records.load(weights.account, weights.classifier_id)
        return self.records.report(record, weights.file).labels

    def run(self, job: Job, body: Body) -> TrainResult | EvaluateResult:
        match body:
            case TrainRequest():
                return self._trained(job, self._files.training(job, body, lambda: None))
            case RebuildRequest():
                record, _ = self.records.load(job.account, body.classifier_id)
                counts = dict.fromkeys(record.labels, 1)
                return self._next(job, body.model, record, counts, made_by="rebuild")
            case RelabelRequest():
                record, _ = self.records.load(job.account, body.classifier_id)
                after = Relabelling.of(record.labels, body.labels)
                counts = dict.fromkeys(after.labels, 1)
                return self._next(job, body.model, record, counts, made_by="relabel")
            case ImportRequest():
                counts = dict.fromkeys(IMPORTED, 1)
                return self._first(job, body, body.create, counts, made_by="import")
            case EvaluateRequest():
                return self._evaluated(job, self._files.evaluation(job, body, lambda: None))
            case ClassifyRequest():
                raise AssertionError("no work for a trainer")

    def _trained(self, job: Job, body: TrainRequest) -> TrainResult:
        counts = Counter(example.label for example in body.examples)
        usage = Usage(input_tokens=sum(_tokens(each, body) for each in body.examples))
        if body.create is not None:
            result = self._first(job, body, body.create, counts, made_by="train")
        else:
            record, _ = self.records.load(job.account, body.classifier_id)
            check_model(record, body.model)
            known = dict.fromkeys(record.labels, 1)
            result = self._next(
                job,
                body.model,
                record,
                known | counts,
                made_by="train",
                candidate=body.candidate,
            )
        return result.model_copy(update={"usage": usage, "num_samples": len(body.examples)})

    def _first(
        self,
        job: Job,
        body: TrainRequest | ImportRequest,
        new: NewClassifier,
        counts: dict[str, int],
        *,
        made_by: MadeBy,
    ) -> TrainResult:
        version = _version(job, 1, body.model, counts, made_by=made_by)
        record = Classifier(
            id=body.classifier_id,
            account=job.account,
            labels=tuple(counts),
            versions=(version,),
            jobs={job.id: 1},
            created_at=version.created_at,
            updated_at=version.created_at,
            **new.model_dump(),
        )
        result = self._result(record, counts)
        self.records.create(record)
        return result

    def _next(
        self,
        job: Job,
        model: str,
        record: Classifier,
        counts: dict[str, int],
        *,
        made_by: MadeBy,
        candidate: bool = False,
    ) -> TrainResult:
        number = record.next_number
        version = _version(job, number, model, counts, made_by=made_by)
        version = version.model_copy(
            update={"learnt": learnt_after(record, number), "candidate": candidate}
        )
        record = self.records.change(
            job.account,
            record.id,
            lambda now: with_version(now, version, labels=tuple(counts), keep=20, job_id=job.id),
        )
        return self._result(record, counts)

    def _result(self, record: Classifier, counts: dict[str, int]) -> TrainResult:
        version = record.versions[-1]
        report = VersionReport(
            labels=tuple(counts),
            counts=tuple(counts.values()),
            progressive=PROGRESSIVE if version.made_by == "train" else None,
            remarks=self.remarks,
        )
        place = (record.account, record.id, version.file)
        self._store.put(object_keys.report(*place), encode(report))
        self._store.put(object_keys.weights(*place), weights_file(labels=report.labels))
        return TrainResult(
            classifier_id=record.id,
            version=version.number,
            candidate=version.candidate,
            num_samples=sum(counts.values()),
            usage=Usage(),
            report=report,
        )

    def _evaluated(self, job: Job, body: EvaluateRequest) -> EvaluateResult:
        for file in PLOTS:
            self._store.put(object_keys.plot(job.account, job.id, file), file.encode())
        labels = self.labels(body.classifier)
        judged = [each for each in body.examples if each.label is not None]
        return EvaluateResult(
            classifier_id=body.classifier.classifier_id,
            version=body.classifier.version,
            num_samples=len(judged),
            usage=Usage(input_tokens=len(body.examples)),
            accuracy=0.5,
            macro_f1=0.4,
            micro_f1=0.5,
            calibration_error=0.1,
            labels=tuple(
                LabelQuality(
                    label=label, precision=0.5, recall=0.5, f1=0.5, support=1, threshold=0.5
                )
                for label in labels
            ),
            confusion=tuple(tuple(1 for _ in labels) for _ in labels),
            reliability=(ReliabilityBin(upper=1.0, confidence=0.6, accuracy=0.5, count=2),),
            worth_labelling=(UncertainItem(index=0, prediction=labels[0], score=0.5, margin=0.01),),
            plots=PLOTS,
        )


def _version(
    job: Job, number: int, model: str, counts: dict[str, int], *, made_by: MadeBy
) -> Version:
    return Version(
        number=number,
        file=f"{number}-{job.id}",
        model=model,
        made_by=made_by,
        created_at=datetime.now(UTC),
        samples=sum(counts.values()),
        label_count=len(counts),
        accuracy=PROGRESSIVE.accuracy if made_by == "train" else None,
        learnt=((number, number),) if made_by == "train" else (),
    )


def _tokens(example: Example, body: TrainRequest) -> int:
    return len(example.item.text.split()) * (example.num_iters or body.num_iters)
