"""Loads the models of this process from the catalogue, warms them up, adds their microbatchers.

Only the libraries of the required engines are imported: a worker of hashing models never loads
torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from shared.errors import ConfigurationError
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from shared.telemetry import Log
from shared.types import Priority
from workers.embedding.loaded_model import LoadedModel, ModelUse
from workers.embedding.pairs import PairScorer
from workers.embedding.texts import Embedder, ImageBatcherModel, ImageEmbedder
from workers.microbatching.microbatcher import Microbatcher, Observe
from workers.models import model_files
from workers.models.hashing import HashingEncoder
from workers.models.idle_encoder import IdleEncoder
from workers.models.port import PairEncoder, TextEncoder
from workers.models.prompt_prefix import PromptPrefixEncoder
from workers.work_context import WorkContext

if TYPE_CHECKING:
    from workers.models.clip import ClipModel  # which imports torch

log = Log("models")
_WARM_UP_S = 120.0
CPU_TOKENS = 1024
"""Of one forward pass: measured for MiniLM on 2 cores; larger batches are not faster there."""
CPU_IMAGES = 8
"""Of one forward pass: ViT-B/32 on 2 cores ran 19 a second in batches of 8 and 15 in batches of 20,
and who waits for one image waits for half as long."""
_QUEUES: dict[str, str] = {"cpu": "cpu", "cuda": "gpu"}
Where = Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class _Towers:
    """What was read of a checkpoint: an encoder of texts, with one of images in `clip`; or one of
    pairs. `on_cpu`: they run there also where the worker has a GPU.
    """

    texts: TextEncoder | None = None
    clip: ClipModel | None = None
    pairs: PairEncoder | None = None
    on_cpu: bool = False
    quantised: bool = False
    idle: IdleEncoder | None = None  # is `texts` or `pairs`


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A model's towers, and the tokens of a forward pass of each."""

    towers: _Towers
    tokens: int  # of texts, or of pairs
    image_tokens: int


def load_models(
    catalogue: Catalogue, settings: Settings, *, observe: Callable[[str], Observe]
) -> tuple[str, dict[str, LoadedModel]]:
    """Load the models; returns the device of this worker, as queue names spell it, and the models.

    Each model is warmed up with an item. With `PIGEONHOLE_MODEL_IDLE_S`, models that are not the
    default are tried one at a time and begin cold, so that more of them than fit can be held. The
    models in `PIGEONHOLE_MODELS` and the default model must load; any other model
    that does not load is left out.

    Args:
        catalogue: the model catalogue.
        settings: device, models and engine settings.
        observe: creates the hook for forward passes from a model name.

    Raises:
        ConfigurationError: A model cannot be loaded, or no model supports this device.
    """
    where = _where(settings.device)
    device = _QUEUES[where]
    named = bool(settings.models)
    kept = {catalogue.default.name, catalogue.default_multilingual}
    towers: dict[str, _Towers] = {}
    for entry in _selected(catalogue, settings, device):
        try:
            towers[entry.name] = _loaded(entry, where, settings, kept=entry.name in kept)
        except ConfigurationError as exc:
            if named or entry is catalogue.default:
                raise
            log.warning("model.left_out", model=entry.name, reason=exc.detail)
    models = {}
    for name, each in towers.items():
        began = time.monotonic()
        loaded = _with_budget(each, where, settings.microbatch_tokens, of=len(towers))
        model = _model(catalogue.entries[name], loaded, observe(name))
        if name in kept or model.idle is None:
            _warm_up(model)
        else:
            model.idle.offload()
        models[name] = model
        log.info(
            "model.loaded",
            model=name,
            revision=model.revision,
            warm_up_s=round(time.monotonic() - began, 1),
            microbatch_tokens=[batcher.budget_tokens for batcher in model.batchers],
        )
    return device, models


def _where(wanted: Literal["auto", "cpu", "cuda"]) -> Where:
    """The device; imports torch only for `auto`."""
    if wanted != "auto":
        return wanted
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _selected(catalogue: Catalogue, settings: Settings, device: str) -> list[ModelEntry]:
    """The configured models, or else the local ones, that support the device."""
    names = [name.strip() for name in settings.models.split(",") if name.strip()]
    if names:
        selected = list(dict.fromkeys(map(catalogue.find, names)))
    else:
        selected = []
        for entry in catalogue.entries.values():
            if entry is catalogue.default or model_files.find(entry) is not None:
                selected.append(entry)
            elif model_files.repository_of(entry) is None:
                reason = f"its checkpoint is not on this machine: {entry.checkpoint}"
                log.warning("model.left_out", model=entry.name, reason=reason)
    fitting = [entry for entry in selected if device in entry.devices]
    if not fitting:
        raise ConfigurationError(_none_fits(catalogue, selected, device))
    return fitting


def _none_fits(catalogue: Catalogue, selected: list[ModelEntry], device: str) -> str:
    """The message if no selected model supports the device."""
    known = ", ".join(e.name for e in catalogue.entries.values() if device in e.devices)
    if known:
        return f"no model can run on a {device} worker; set PIGEONHOLE_MODELS to some of: {known}"
    names = ", ".join(entry.name for entry in selected)
    if device == "cpu":
        return f"no GPU is available, or PIGEONHOLE_DEVICE is cpu; these models need one: {names}"
    return (
        f"this worker uses a GPU; these models need a CPU worker (PIGEONHOLE_DEVICE=cpu): {names}"
    )


def _with_budget(each: _Towers, where: Where, configured: int, *, of: int) -> _Loaded:
    """A model with its token budgets: configured, or measured.

    On a GPU the budget is measured once all models are loaded, from the remaining memory. That
    loads a model that begins cold, so the caller offloads it before the next one.
    """
    tokens = image_tokens = configured or CPU_TOKENS
    if each.clip is not None and not configured:
        image_tokens = CPU_IMAGES * each.clip.images.image_tokens
    if where == "cuda" and not configured and not each.on_cpu:
        from workers.microbatching import token_budget
        from workers.models.gpu_memory import CudaMemory

        part = token_budget.MemoryShare(memory=CudaMemory(where), of=of)
        if each.texts is not None:
            tokens = token_budget.of_texts(each.texts, part)
        if each.pairs is not None:
            tokens = token_budget.of_pairs(each.pairs, part)
        if each.clip is not None:
            image_tokens = token_budget.of_images(each.clip.images, part)
    return _Loaded(towers=each, tokens=tokens, image_tokens=image_tokens)


def _model(entry: ModelEntry, loaded: _Loaded, observe: Observe) -> LoadedModel:
    """The model, each tower with its own microbatcher."""
    texts, clip, pairs = loaded.towers.texts, loaded.towers.clip, loaded.towers.pairs
    use = ModelUse()
    encoder = texts if pairs is None else pairs
    assert encoder is not None
    idle = loaded.towers.idle
    batcher = Microbatcher(
        encoder,
        budget_tokens=loaded.tokens,
        name=entry.name,
        prepare=None if idle is None else idle.load,
        observe=observe,
        on_submit=use.count,
    )
    if pairs is not None:
        return LoadedModel(entry=entry, pairs=PairScorer(pairs, batcher), use=use, idle=idle)
    assert texts is not None
    images = None
    if clip is not None:
        image_batcher = Microbatcher(
            ImageBatcherModel(clip.images),
            budget_tokens=loaded.image_tokens,
            name=f"{entry.name} images",
            window_tokens=clip.images.image_tokens,
            observe=observe,
            on_submit=use.count,
        )
        images = ImageEmbedder(clip.images, image_batcher, logit_scale=clip.logit_scale)
    return LoadedModel(
        entry=entry,
        texts=Embedder(texts, batcher),
        images=images,
        quantised=loaded.towers.quantised,
        use=use,
        idle=idle,
    )


def _warm_up(model: LoadedModel) -> None:
    """Send an item through every tower."""
    tokens, context = model.tokenizer.tokenise(["warm"]), WorkContext(priority=Priority.FAST)
    warm = []
    if model.texts is not None:
        warm.append(model.texts.embed(tokens, context))
    if model.pairs is not None:
        warm.append(model.pairs.compare(tokens, tokens, context))
    if model.images is not None:
        frame = model.images.encoder.frame
        grey = np.full((frame.height, frame.width, 3), 128, np.uint8)
        warm.append(model.images.embed([grey], context))
    for rows in warm:
        rows.result(_WARM_UP_S)


def _loaded(entry: ModelEntry, where: Where, settings: Settings, *, kept: bool) -> _Towers:
    """The towers of an entry; where idle models are offloaded, behind an encoder that can be.

    The towers of a model that reads images share their weights, and stay.
    """
    began = time.monotonic()
    towers = _load(entry, where, settings)
    encoder = towers.texts if towers.pairs is None else towers.pairs
    if not settings.model_idle_s or towers.clip is not None or encoder is None:
        return towers

    same = replace(settings, cpu_precision="int8" if towers.quantised else "bf16")

    def again() -> TextEncoder | PairEncoder:
        fresh = _load(entry, where, same)
        if fresh.quantised != towers.quantised:
            raise ConfigurationError("its int8 version is gone: restart the worker")
        loaded = fresh.texts if fresh.pairs is None else fresh.pairs
        assert loaded is not None
        return loaded

    idle = IdleEncoder(encoder, again, load_s=time.monotonic() - began)
    if not kept:
        idle.offload()
    if towers.pairs is not None:
        return replace(towers, pairs=idle, idle=idle)
    return replace(towers, texts=idle, idle=idle)


def _load(entry: ModelEntry, where: Where, settings: Settings) -> _Towers:
    """Read the checkpoint of an entry."""
    if entry.engine == "hashing":
        return _Towers(texts=HashingEncoder(name=entry.name), on_cpu=True)
    if entry.engine == "universal_sentence":
        checkpoint = model_files.place_of(entry)
        try:
            from workers.models.universal_sentence_encoder import UniversalSentenceEncoder
        except ImportError as exc:
            raise model_files.packages_missing(entry, exc.name) from exc
        return _Towers(texts=UniversalSentenceEncoder(checkpoint, name=entry.name), on_cpu=True)
    away = model_files.repository_of(entry) is not None and model_files.find(entry) is None
    try:
        if away and not settings.allow_downloads:
            from workers.models import hub

            raise hub.not_here(entry.name)
        import torch

        # Each module imports its library, which takes seconds: import only the required one.
        if entry.engine == "sentence":
            from workers.models import sentence_encoder
        elif entry.engine == "cross_encoder":
            from workers.models import cross_encoder
        else:
            from workers.models import clip
    except ImportError as exc:
        raise model_files.packages_missing(entry, exc.name) from exc
    if where == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "PIGEONHOLE_DEVICE is cuda, but torch finds no CUDA device; give the process one, "
            "or set it to cpu"
        )
    checkpoint = model_files.place_of(entry)
    if entry.engine == "sentence":
        encoder = sentence_encoder.load(
            checkpoint,
            name=entry.name,
            device=where,
            engine=settings.cpu_engine,
            allow_download=settings.allow_downloads,
            int8=_int8(entry.name, checkpoint, where, settings),
        )
        return _Towers(
            texts=PromptPrefixEncoder(encoder, entry.prefix) if entry.prefix else encoder,
            quantised=encoder.precision == "int8",
        )
    if entry.engine == "cross_encoder":
        return _Towers(
            pairs=cross_encoder.load(
                checkpoint,
                name=entry.name,
                device=where,
                engine=settings.cpu_engine,
                allow_download=settings.allow_downloads,
            )
        )
    both = clip.load(
        checkpoint,
        name=entry.name,
        engine="open_clip" if entry.engine == "open_clip" else "sentence",
        device=where,
        allow_download=settings.allow_downloads,
    )
    return _Towers(texts=both.texts, clip=both)


def _int8(name: str, checkpoint: str, where: Where, settings: Settings) -> Path | None:
    """The int8 version of a model that a CPU worker takes, if there is one."""
    if where != "cpu" or settings.cpu_precision == "bf16":
        return None
    from workers.models import int8_model, sentence_encoder

    try:
        revision = sentence_encoder.revision_of(checkpoint, None)
    except ConfigurationError:
        return None  # of the hub, and not downloaded yet
    path = int8_model.path_of(settings.int8_folder, name, revision)
    advice = f"run: pigeonhole-server models optimise {name}"
    if settings.cpu_engine == "torch":
        advice = "it runs by OpenVINO: set PIGEONHOLE_CPU_ENGINE=auto"
    elif path.is_file():
        return path
    if settings.cpu_precision == "int8":
        log.warning("model.no_int8", model=name, folder=str(settings.int8_folder), advice=advice)
    return None
