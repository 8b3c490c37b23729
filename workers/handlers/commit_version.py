"""Commits a draft as the next version of a classifier exactly once, with any number of trainers."""

from __future__ import annotations

from collections.abc import Callable

from shared.classifier_record import Classifier
from shared.errors import Conflict
from workers.classifier_cache import ClassifierCache, DraftVersion
from workers.leases import Lease

_ATTEMPTS = 100  # of others being faster; each of them wins once


def commit_once(
    classifiers: ClassifierCache,
    account: str,
    classifier_id: str,
    job_id: str,
    make: Callable[[Classifier], DraftVersion],
    hold: Lease,
) -> Classifier:
    """The classifier with the version of a job, made now or by an earlier attempt of the job.

    Args:
        classifiers: The classifiers of the store.
        account: The owner.
        classifier_id: The classifier.
        job_id: The job that makes the version.
        make: Drafts the version on the record as it is.
        hold: The lease of the job.

    Raises:
        NotFound: The classifier was deleted.
        Conflict: Too many others train it.
        CancelledError: The lease ended.
        PigeonholeError: What `make` raises.
    """
    with classifiers.turn(classifier_id):
        for _ in range(_ATTEMPTS):
            before, etag = classifiers.records.load(account, classifier_id)
            if job_id in before.jobs:
                return before
            draft = make(before)
            hold.check()
            after = classifiers.commit(draft, before, etag)
            if after is not None:
                return after
    raise Conflict("the classifier is being trained by many; try again", retry_after_s=1)
