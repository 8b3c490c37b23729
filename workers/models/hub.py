"""Files of the model hub, from the local cache or downloaded.

Nothing is downloaded unless it is allowed; a missing file gives an error with the remedy. Callers
decide which files a model needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from shared.errors import ConfigurationError


@contextlib.contextmanager
def reach(*, allow_download: bool) -> Iterator[None]:
    """Whether this process may ask the hub while the block runs.

    Libraries ask it on their own in many places, some of them for what they have already; its
    client has one switch for all of them. For the time of starting: threads share it.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not allow_download
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def file(repository: str, candidates: Sequence[str], *, revision: str | None, model: str) -> Path:
    """The first of several files that the repository has; within `reach`.

    Args:
        repository: `owner/name` on the hub.
        candidates: names of files, the best first.
        revision: branch, tag or commit; None is the main branch.
        model: what the operator called it.

    Raises:
        ConfigurationError: None is there, or none may be fetched; it says what to do.
    """
    for name in candidates:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
        except (
            LocalEntryNotFoundError
        ) as exc:  # not in the cache, and the hub was not to be reached
            if not constants.HF_HUB_OFFLINE:
                raise _no_answer(model, repository, exc) from exc
        except EntryNotFoundError:
            continue
        except HFValidationError as exc:
            raise ConfigurationError(
                f"checkpoint: {repository} is not a valid name on the hub: {exc}"
            ) from exc
        except (HfHubHTTPError, OSError) as exc:
            raise _no_answer(model, repository, exc) from exc
    if constants.HF_HUB_OFFLINE:
        raise not_here(model)
    wanted = " nor ".join(candidates)
    raise ConfigurationError(f"the model {model}: {repository} on the hub has no {wanted}.")


def commit(path: Path) -> str:
    """The commit that a file of the cache belongs to: `…/snapshots/<commit>/<name>`.

    >>> commit(Path("models--a--b/snapshots/0f3/config.json"))
    '0f3'
    """
    return path.parts[path.parts.index("snapshots") + 1]


def not_here(model: str) -> ConfigurationError:
    """What to tell when a model is not on this machine and must not be fetched."""
    return ConfigurationError(
        f"the model {model} is not on this machine; run: pigeonhole-server models pull {model} "
        "(or set PIGEONHOLE_ALLOW_DOWNLOADS=true, and workers download it when they start)"
    )


def _no_answer(model: str, repository: str, error: Exception) -> ConfigurationError:
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    return ConfigurationError(
        f"the model {model} cannot be downloaded from {repository}: "
        f"{type(error).__name__}: {reason}"
    )
