"""Looking at items in the process of the benchmark, as a worker does for the parts of a batch.

Beside it the bare open_clip, as its own examples use it.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from shared import model_catalogue
from shared.adapters.s3.buckets import buckets_of
from shared.adapters.store_factory import store_of
from shared.limits import Limits
from shared.settings import Settings
from shared.types import FileReading, Item, Media, Priority
from workers.cpu_quota import usable_cores
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.media_decoder import Decoders
from workers.embedding.media_loader import MediaReader
from workers.embedding.pooling import ViewBatch
from workers.inputs.media_fetcher import Fetcher, bounds_of
from workers.model_loader import load_models
from workers.outbound_http.client import Outbound
from workers.work_context import WorkContext

NAME = "clip"
PART = 32  # items of a part, at most
_PARTS = 2  # that a worker has under way
_LIMIT_S = 600.0
_CATALOGUE = """
[[model]]
name = "{name}"
engine = "open_clip"
checkpoint = "{folder}"
device = "gpu-preferred"
"""


def catalogue_of(folder: Path) -> str:
    """A catalogue of the model in the folder."""
    return _CATALOGUE.format(name=NAME, folder=folder)


class Worker:
    """The part of a worker that looks: a model, a reader of media, and its children."""

    def __init__(self, model: LoadedModel, media: MediaReader, limits: Limits) -> None:
        self.model = model
        self._viewer = ItemEmbedder(limits=limits, media=media)

    def look(self, items: Sequence[Item]) -> None:
        """Look at items part by part.

        Raises:
            RuntimeError: One could not be looked at.
        """
        looks: deque[Future[ViewBatch]] = deque()
        for first in range(0, len(items), PART):
            if len(looks) == _PARTS:
                _check(looks.popleft())
            views = self._viewer.look(
                self.model,
                items[first : first + PART],
                FileReading(),
                WorkContext(priority=Priority.BULK),
            )
            looks.append(views)
        while looks:
            _check(looks.popleft())


@contextmanager
def worker(folder: Path, place: Path) -> Iterator[Worker]:
    """A worker of the model in a folder; `place` takes its files."""
    (place / "catalogue.toml").write_text(catalogue_of(folder))
    settings = Settings(data_dir=place, catalogue=str(place / "catalogue.toml"), default_model=NAME)
    models = model_catalogue.load(settings.catalogue, default=NAME)
    _, loaded = load_models(models, settings, observe=lambda _: lambda *_: None)
    bounds = bounds_of(settings)
    media = MediaReader(
        store=store_of(settings),
        buckets=buckets_of(settings),
        fetcher=Fetcher(Outbound.of(settings), bounds, timeout_s=settings.fetch_timeout_s),
        decoders=Decoders(
            children=settings.decoders or usable_cores(),
            memory_bytes=settings.decoder_bytes,
            limit_s=settings.decode_limit_s,
            at_once=True,
        ),
        max_bytes={kind: each.max_bytes for kind, each in bounds.items()},
    )
    model = loaded[NAME]
    try:
        yield Worker(model, media, Limits.of(settings))
    finally:
        media.close()
        for batcher in model.batchers:
            batcher.close()


def _check(ready: Future[ViewBatch]) -> None:
    failed = ready.result(_LIMIT_S).failed
    if failed:
        raise RuntimeError(f"{len(failed)} items failed: {failed}")


def images(jpegs: Sequence[bytes]) -> list[Item]:
    """An item for each image, as it comes over HTTP."""
    return [Item(images=(Media(data=base64.b64encode(jpeg).decode()),)) for jpeg in jpegs]


def bare(folder: Path, like: LoadedModel) -> Callable[[Sequence[bytes]], None]:
    """The bare library in the precision and with the batches of a worker's model."""
    import open_clip
    import torch

    assert like.images is not None
    tower: Any = like.images.encoder
    dtype = tower._tower.dtype  # nothing else tells which precision was chosen
    batch = max(1, like.images.batcher.budget_tokens // tower.image_tokens)
    model, preprocess = open_clip.create_model_from_pretrained(
        f"local-dir:{folder}", precision="bf16" if dtype == torch.bfloat16 else "fp32"
    )
    model.eval()

    def encode(jpegs: Sequence[bytes]) -> None:
        for first in range(0, len(jpegs), batch):
            opened = [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs[first : first + batch]]
            ready = torch.stack([preprocess(image) for image in opened]).to(dtype)
            with torch.inference_mode():
                model.encode_image(ready, normalize=True).float().numpy()

    return encode
