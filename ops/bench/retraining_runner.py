"""Nights of retraining in this process: the handlers of a worker, a store in a temporary folder.

No HTTP, no queue and no keeper; the caller owns the dates.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from shared import ids, object_keys
from shared.adapters.directory.object_store import DirectoryStore
from shared.batches import StoredFile
from shared.classifier_record import Classifier
from shared.feedback_store import FeedbackStore
from shared.jobs import Job, Progress, State
from shared.limits import Limits
from shared.messages import encode
from shared.model_catalogue import Catalogue, ModelEntry, load
from shared.ports import Buckets, Claim
from shared.promotion import live_version
from shared.retraining import (
    FeedbackItem,
    Holdout,
    RetrainingRecord,
    RetrainingSettings,
    RetrainRequest,
    Run,
    Source,
)
from shared.retraining_store import RetrainingStore
from shared.settings import Settings
from shared.types import Example, Item, JobKind, NewClassifier, TrainRequest
from workers.classifier_cache import ClassifierCache
from workers.classifier_file import TrainedClassifier
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.media_loader import MediaReader
from workers.embedding.texts import Embedder
from workers.handlers.example_files import ExampleFiles
from workers.handlers.retrain.run import RetrainHandler
from workers.handlers.train import TrainHandler
from workers.inputs.tables.row import TableLimits
from workers.leases import Lease
from workers.microbatching.microbatcher import Microbatcher
from workers.model_loader import CPU_TOKENS, load_models
from workers.models.port import Rows, TextEncoder

ACCOUNT = "bench"
_NUM_ITERS = RetrainingSettings().num_iters  # of the first rows, too: more would weigh more
Row = tuple[str, str]
"""A text and its label."""


@dataclass(kw_only=True)
class CountedEncoder:
    """An encoder that counts windows and, with `remember`, runs each of them once."""

    inner: TextEncoder
    remember: bool = False
    windows: int = 0
    _known: dict[tuple[int, ...], Rows] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """As the encoder does."""
        self.windows += len(windows)
        if not self.remember:
            return self.inner.encode(windows)
        keys = [tuple(window) for window in windows]
        fresh = list(dict.fromkeys(key for key in keys if key not in self._known))
        if fresh:
            self._known |= dict(zip(fresh, self.inner.encode(fresh), strict=True))
        return np.stack([self._known[key] for key in keys])


class NightWorker:
    """The default model of the catalogue."""

    def __init__(self, *, remember: bool = False) -> None:
        settings = Settings()
        entry = load(default=settings.default_model).default
        _, models = load_models(
            Catalogue([entry], default=entry.name), settings, observe=lambda _: lambda *_: None
        )
        self._loaded = models[entry.name]
        assert self._loaded.texts is not None
        self.encoder = CountedEncoder(inner=self._loaded.texts.encoder, remember=remember)
        self._batcher = Microbatcher(
            cast("TextEncoder", self.encoder), budget_tokens=CPU_TOKENS, name=entry.name
        )
        self.model = LoadedModel(
            entry=entry, texts=Embedder(cast("TextEncoder", self.encoder), self._batcher)
        )

    @property
    def entry(self) -> ModelEntry:
        """The model's entry of the catalogue."""
        return self.model.entry

    def close(self) -> None:
        """Stop the threads of the model."""
        self._batcher.close()
        for batcher in self._loaded.batchers:
            batcher.close()


class RetrainedClassifier:
    """A classifier with a retraining from feedback."""

    def __init__(
        self,
        worker: NightWorker,
        folder: Path,
        first: Sequence[Row],
        *,
        holdout: Sequence[Row] = (),
        **settings: Any,
    ) -> None:
        self._worker = worker
        store = DirectoryStore(folder)
        self._classifiers = ClassifierCache(store, versions_kept=10)
        limits = Limits()
        viewer = ItemEmbedder(limits=limits, media=cast("MediaReader", None))
        catalogue = Catalogue([worker.entry], default=worker.entry.name)
        buckets = cast("Buckets", None)  # its only source is feedback
        files = ExampleFiles(
            store=store, buckets=buckets, catalogue=catalogue, limits=limits, bounds=TableLimits()
        )
        models = {worker.entry.name: worker.model}
        self._retrain = RetrainHandler(
            models=models,
            limits=limits,
            classifiers=self._classifiers,
            viewer=viewer,
            example_files=files,
            buckets=buckets,
        )
        self._feedback = FeedbackStore(store=store)
        self._retrainings = RetrainingStore(store=store)
        self._store = store
        self.id = ids.classifier_id()
        self._sent = 0
        TrainHandler(
            models=models,
            limits=limits,
            classifiers=self._classifiers,
            viewer=viewer,
            example_files=files,
        ).train(
            self._job(JobKind.TRAIN, datetime(2026, 1, 1, tzinfo=UTC)),
            TrainRequest(
                model=worker.entry.name,
                classifier_id=self.id,
                create=NewClassifier(keep_examples=True),
                num_iters=_NUM_ITERS,
                examples=tuple(_example(row) for row in first),
            ),
            _lease(),
        )
        if holdout:
            settings["holdout"] = self._file(holdout)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        record = RetrainingRecord(
            account=ACCOUNT,
            classifier_id=self.id,
            settings=RetrainingSettings(sources=(Source(feedback=True),), **settings),
            created_at=now,
            updated_at=now,
        )
        self._retrainings.reschedule(record, None, after=now)

    @property
    def record(self) -> Classifier:
        """The record of the classifier."""
        return self._classifiers.records.load(ACCOUNT, self.id)[0]

    @property
    def champion(self) -> TrainedClassifier:
        """The live version."""
        record = self.record
        return self._classifiers.load(record.weights(live_version(record, "champion")))

    def set(self, **settings: Any) -> None:
        """Change settings of the retraining."""
        record, etag = self._retrainings.load(ACCOUNT, self.id)
        changed = record.settings.model_copy(update=settings)
        self._retrainings.replace(record.model_copy(update={"settings": changed}), etag)

    def send(self, rows: Sequence[Row], at: datetime) -> None:
        """Bring labelled rows as feedback of a time."""
        for row in rows:
            self._sent += 1
            example = _example(row)
            item = FeedbackItem(id=f"{self._sent}", example=example, label=row[1], created_at=at)
            self._feedback.put(ACCOUNT, self.id, item)

    def night(self, at: datetime, *, dry_run: bool = False) -> Run:
        """The run of a tick."""
        job = self._job(JobKind.RETRAIN, at)
        self._store.put(object_keys.open_marker(job.id), ACCOUNT.encode())
        request = RetrainRequest(
            model=self._worker.entry.name,
            classifier_id=self.id,
            trigger="schedule",
            tick=at,
            dry_run=dry_run,
        )
        run = self._retrain.run(job, request, _lease()).run
        self._store.delete(object_keys.open_marker(job.id))
        return run

    def _file(self, rows: Sequence[Row]) -> Holdout:
        """The rows as an uploaded file."""
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        content = "\n".join(lines).encode()
        file = StoredFile(
            id="file-holdout",
            purpose="batch",
            filename="holdout.jsonl",
            bytes=len(content),
            created_at=0.0,
        )
        self._store.put(object_keys.file_content(ACCOUNT, file.id), content)
        self._store.put(object_keys.file(ACCOUNT, file.id), encode(file))
        return Holdout(share=None, file_id=file.id)

    def _job(self, kind: JobKind, at: datetime) -> Job:
        return Job(
            id=ids.job_id(int(at.timestamp() * 1000), ids.random_bits()),
            account=ACCOUNT,
            kind=kind,
            model=self._worker.entry.name,
            queue="",
            state=State.RUNNING,
            created_at=at,
            expires_at=at + timedelta(days=365),
            progress=Progress(total=1),
        )


@contextmanager
def retrained(
    worker: NightWorker, first: Sequence[Row], **settings: Any
) -> Iterator[RetrainedClassifier]:
    """A classifier that has learnt the first rows, and its retraining."""
    with tempfile.TemporaryDirectory(prefix="nights-") as folder:
        yield RetrainedClassifier(worker, Path(folder), first, **settings)


def _example(row: Row) -> Example:
    return Example(item=Item(text=row[0]), label=row[1])


def _lease() -> Lease:
    return Lease(Claim(job_id="j", account=ACCOUNT, task="part:0", attempt=1, token="t"))
