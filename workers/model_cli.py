"""Models as the operator meets them: what is here, fetch it, try it. `python -m workers.model_cli`

Run by `pigeonhole-server models …` as a process of its own, because trying a model needs machine
learning.
Standard output is for the answer, standard error for progress and what goes wrong. Exit status: 0,
1 when a model failed, 2 for a wrong setting or name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from shared import model_catalogue
from shared.errors import PigeonholeError
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from workers.models import model_files


def main() -> None:
    """Do what the command line says, and exit."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """`list`, `pull NAME…` or `check [NAME…]`; the exit status."""
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
        case _:
            raise ValueError(f"unknown action {action}; supported are list, pull and check")


def _list(models: Catalogue) -> int:
    """One JSON object a line."""
    for entry in models.entries.values():
        found = model_files.find(entry)
        said = {
            "name": entry.name,
            "default": entry is models.default,
            "aliases": entry.aliases,
            "engine": entry.engine,
            "device": entry.device,
            "languages": entry.languages,
            "here": found is not None,
            "size_bytes": None if found is None else found.size_bytes,
            "place": None if found is None or found.place is None else str(found.place),
        }
        print(json.dumps(said))
    return 0


def _each(entries: Sequence[ModelEntry], action: Callable[[ModelEntry], str]) -> int:
    """Do it to every model; one that fails does not keep the others from theirs."""
    status = 0
    for entry in dict.fromkeys(entries):
        try:
            print(f"{entry.name}: {action(entry)}", flush=True)
        except PigeonholeError as exc:
            status = _failed(exc, 1)
    return status


def _pull(entry: ModelEntry) -> str:
    found = model_files.fetch(entry)
    return "is here" if found.place is None else f"{_size(found.size_bytes)} in {found.place}"


def _check(entry: ModelEntry, settings: Settings) -> str:
    try:
        from workers.model_check import tried
    except ImportError as exc:
        raise model_files.packages_missing(entry, exc.name) from exc
    return "\n  ".join(tried(entry, settings))


def _size(count: int) -> str:
    """As people say it.

    >>> _size(91_000_000), _size(2_300_000_000)
    ('91 MB', '2.3 GB')
    """
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _failed(error: PigeonholeError, status: int) -> int:
    print(f"pigeonhole-server: {error.detail}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    main()
