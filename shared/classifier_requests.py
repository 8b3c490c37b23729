"""Requests of jobs that make a version of a classifier without new examples."""

from __future__ import annotations

from typing import Literal

from shared.types import JobRequest, NewClassifier


class RebuildRequest(JobRequest):
    """A classifier to train again with another model, from its stored examples."""

    kind: Literal["rebuild"] = "rebuild"
    classifier_id: str


class RelabelRequest(JobRequest):
    """Labels of a classifier to rename or merge, or to remove if the new name is None."""

    kind: Literal["relabel"] = "relabel"
    classifier_id: str
    labels: dict[str, str | None]


class ImportRequest(JobRequest):
    """A classifier to create from a weights file, which is on the object store as `upload`."""

    kind: Literal["import"] = "import"
    classifier_id: str
    create: NewClassifier
    upload: str
