"""The parsed classify call of any dialect, before its classifier is resolved."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.types import ClassifyRequest, Priority


@dataclass(frozen=True, kw_only=True)
class UnresolvedRequest:
    """A request that is whole but for the classifier, which `classifier` refers to.

    `model` and `priority` are those that the caller names; `model` is None where the caller names
    none. Thresholds by label are not yet compared with the labels of a classifier.
    """

    request: ClassifyRequest
    classifier: str | None = None
    model: str | None = None
    priority: Priority = Priority.STANDARD
    metadata: dict[str, str] = field(default_factory=dict)
