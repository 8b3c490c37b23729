"""Builds a folder of ops/kubernetes as `kubectl kustomize` does, with what these folders use of it.

A field of a kustomization that this module does not know is an error, and so is a list that it
would have to merge in a way that it does not know.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from tests.ops.compose import ROOT

FOLDER = ROOT / "ops" / "kubernetes"
BUILDS = tuple(
    str(path.parent.relative_to(FOLDER)) for path in sorted(FOLDER.rglob("kustomization.yaml"))
)
"""The folders that can be built."""

Manifest = dict[str, Any]

_CLUSTER_WIDE = {"Namespace"}
_MERGED_BY = {"containers": "name", "volumes": "name", "volumeMounts": "mountPath", "env": "name"}


def build(folder: str) -> list[Manifest]:
    """The manifests of a folder below ops/kubernetes."""
    return _build(FOLDER / folder)


def _build(folder: Path) -> list[Manifest]:
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    known = {"apiVersion", "kind", "namespace", "resources", "patches"}
    assert wanted.keys() <= known, f"{folder}: {wanted.keys() - known} is not read"
    found: list[Manifest] = []
    for name in wanted["resources"]:
        path = (folder / name).resolve()
        found += _build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    names = [_identity(each) for each in found]
    assert len(names) == len(set(names)), f"{folder} has a manifest twice"
    for patch in wanted.get("patches", ()):
        assert patch.keys() <= {"path", "patch"}, patch
        text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text("utf-8")
        for change in yaml.safe_load_all(text):
            found = _patched(found, change)
    for each in found:
        if each["kind"] not in _CLUSTER_WIDE and "namespace" in wanted:
            each["metadata"]["namespace"] = wanted["namespace"]
    return found


def _patched(manifests: list[Manifest], change: Manifest) -> list[Manifest]:
    (place,) = [n for n, each in enumerate(manifests) if _identity(each) == _identity(change)]
    before, after = manifests[:place], manifests[place + 1 :]
    if change.get("$patch") == "delete":
        return before + after
    return [*before, _merged(manifests[place], change), *after]


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def _merged(value: Any, change: Any, field: str = "") -> Any:
    """A strategic merge: maps by their keys, null removes; these lists by the key of an entry."""
    if isinstance(value, dict) and isinstance(change, dict):
        merged = {k: v for k, v in value.items() if k not in change}
        for key, new in change.items():
            if new is not None:
                merged[key] = _merged(value.get(key), new, key)
        return merged
    if isinstance(value, list) and isinstance(change, list) and field in _MERGED_BY:
        key = _MERGED_BY[field]
        changes = {each[key]: each for each in change}
        kept = [_merged(each, changes.pop(each[key], {})) for each in value]
        return [*changes.values(), *kept]
    return copy.deepcopy(change)
