"""Object keys of retraining and feedback, beside those of `shared.object_keys`. No I/O.

classifiers/{account}/{id}/feedback/{sha256}.json       an item of feedback, by the hash of its id
classifiers/{account}/{id}/outcomes/{version}/{ms}.{sha256}.{0|1}   whether it was predicted
                                                        correctly; empty
classifiers/{account}/{id}/retraining.json              the settings of its retraining
classifiers/{account}/{id}/retraining/state.json        what its runs have done
classifiers/{account}/{id}/retraining/runs/{run}/run.json   a run
classifiers/{account}/{id}/retraining/runs/{run}/comparison.json   its versions on the holdout
classifiers/{account}/{id}/retraining/runs/{run}/{file}     what a run collected, and its snapshot
ticks/{ms}.{account}.{id}                               index of schedules by their next tick
live-checks/{account}.{id}.{token}                      new feedback, for automatic rollback
"""

from __future__ import annotations

from shared.object_keys import classifier_prefix

TICKS = "ticks/"
LIVE_CHECKS = "live-checks/"


def feedback_of(account: str, classifier: str) -> str:
    """Prefix of the feedback on a classifier."""
    return f"{classifier_prefix(account, classifier)}feedback/"


def feedback_item(account: str, classifier: str, digest: str) -> str:
    """An item of feedback, by the SHA-256 of its id in hex."""
    return f"{classifier_prefix(account, classifier)}feedback/{digest}.json"


def outcomes_of(account: str, classifier: str) -> str:
    """Prefix of the outcomes of feedback on a classifier; the next segments are versions."""
    return f"{classifier_prefix(account, classifier)}outcomes/"


def outcomes_of_version(account: str, classifier: str, version: int) -> str:
    """Prefix of the outcomes of a version, oldest first."""
    return f"{outcomes_of(account, classifier)}{version:08d}/"


def outcome(
    account: str, classifier: str, *, version: int, ms: int, digest: str, correct: bool
) -> str:
    """Whether a version has predicted an item of feedback correctly; `ms` since 1970."""
    prefix = outcomes_of_version(account, classifier, version)
    return f"{prefix}{ms:014d}.{digest}.{correct:d}"


def live_check(account: str, classifier: str, token: str) -> str:
    """A request to compare a live version with the one before."""
    return f"{LIVE_CHECKS}{account}.{classifier}.{token}"


def retraining(account: str, classifier: str) -> str:
    """The settings of a classifier's retraining; changed by compare-and-set."""
    return f"{classifier_prefix(account, classifier)}retraining.json"


def retraining_prefix(account: str, classifier: str) -> str:
    """Prefix of what the runs of a retraining have stored."""
    return f"{classifier_prefix(account, classifier)}retraining/"


def retraining_state(account: str, classifier: str) -> str:
    """What the runs have done; changed by compare-and-set."""
    return f"{classifier_prefix(account, classifier)}retraining/state.json"


def runs_of(account: str, classifier: str) -> str:
    """Prefix of the runs; the next segments are their ids, newest first."""
    return f"{classifier_prefix(account, classifier)}retraining/runs/"


def run_prefix(account: str, classifier: str, run: str) -> str:
    """Prefix of all objects of a run."""
    return f"{classifier_prefix(account, classifier)}retraining/runs/{run}/"


def run(account: str, classifier: str, run: str) -> str:
    """The record of a run."""
    return f"{classifier_prefix(account, classifier)}retraining/runs/{run}/run.json"


def run_comparison(account: str, classifier: str, run: str) -> str:
    """What both versions of a run predict for the holdout."""
    return run_file(account, classifier, run, "comparison.json")


def run_file(account: str, classifier: str, run: str, file: str) -> str:
    """An object of a run."""
    return f"{classifier_prefix(account, classifier)}retraining/runs/{run}/{file}"


def tick(ms: int, account: str, classifier: str) -> str:
    """Index entry of the next tick of a schedule, in milliseconds since 1970."""
    return f"{TICKS}{ms:014d}.{account}.{classifier}"
