"""The command line for models: list, pull, check and optimise. `python -m workers.model_cli`

`pigeonhole-server models …` runs it as a process of its own, because checking a model imports its
engine. Results go to standard output, progress and errors to standard error. Exit status: 0; 1 if a
model failed; 2 for an invalid setting or name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from shared import model_catalogue
from shared.errors import ConfigurationError, PigeonholeError
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from workers.models import model_files


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """`list`, `pull NAME…`, `check [NAME…]` or `optimise [NAME…]`; the exit status."""
    action, *names = argv
    try:
        settings = Settings.from_env(env)
        models = model_catalogue.load(settings.catalogue, default=settings.default_model)
        entries = [models.find(name) for name in names]
    except PigeonholeError as exc:
        return _failed(exc, 2)
    match action:
        case "list":
            return _list(models)
        case "pull":
            return _each(entries, _pull)
        case "check":
            here = [e for e in models.entries.values() if model_files.find(e) is not None]
            return _each(entries or here, lambda entry: _check(entry, settings))
        case "optimise":
            here = [e for e in models.entries.values() if _can_be_int8(e)]
            return _each(entries or here, lambda entry: _optimise(entry, settings))
        case _:
            raise ValueError(
                f"unknown action {action}; supported are list, pull, check and optimise"
            )


def _list(models: Catalogue) -> int:
    """One JSON object a line."""
    for entry in models.entries.values():
        local = model_files.find(entry)
        row = {
            "name": entry.name,
            "default": entry is models.default,
            "aliases": entry.aliases,
            "engine": entry.engine,
            "device": entry.device,
            "languages": entry.languages,
            "here": local is not None,
            "size_bytes": None if local is None else local.size_bytes,
            "place": None if local is None or local.place is None else str(local.place),
        }
        print(json.dumps(row))
    return 0


def _each(entries: Sequence[ModelEntry], action: Callable[[ModelEntry], str]) -> int:
    """Run an action for every model; a failure does not stop the others."""
    status = 0
    for entry in dict.fromkeys(entries):
        try:
            print(f"{entry.name}: {action(entry)}", flush=True)
        except PigeonholeError as exc:
            status = _failed(exc, 1)
    return status


def _pull(entry: ModelEntry) -> str:
    local = model_files.fetch(entry)
    return "is here" if local.place is None else f"{_size(local.size_bytes)} in {local.place}"


def _check(entry: ModelEntry, settings: Settings) -> str:
    try:
        from workers.model_check import check
    except ImportError as exc:
        raise model_files.packages_missing(entry, exc.name) from exc
    return "\n  ".join(check(entry, settings))


def _can_be_int8(entry: ModelEntry) -> bool:
    return entry.engine == "sentence" and model_files.find(entry) is not None


def _optimise(entry: ModelEntry, settings: Settings) -> str:
    if not _can_be_int8(entry):
        raise ConfigurationError(
            f"the model {entry.name} cannot run in int8: only text models of "
            "sentence-transformers that are on this machine can"
        )
    try:
        from workers.models import int8_model
    except ImportError as exc:
        raise model_files.packages_missing(entry, exc.name) from exc
    report = int8_model.make(
        model_files.place_of(entry), name=entry.name, folder=settings.int8_folder
    )
    return (
        f"{report.speedup:.2f} times the speed of {report.usual} on this CPU; cosine with float32 "
        f"{report.mean_cosine:.4f} on average and {report.min_cosine:.4f} at least\n"
        f"  written to {report.path}; restart the workers to use it"
    )


def _size(count: int) -> str:
    """A size in MB or GB.

    >>> _size(91_000_000), _size(2_300_000_000)
    ('91 MB', '2.3 GB')
    """
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _failed(error: PigeonholeError, status: int) -> int:
    print(f"pigeonhole-server: {error.detail}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    main()
