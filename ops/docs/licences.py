"""The licences of what the service runs on: `python -m ops.docs.licences` writes the page.

It is no generated table of `ops.docs`, because it says what is installed here: with another torch
or on another platform there are other packages. A test checks that none of them lacks its row.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.docs.pages import ROOT, rewritten, table

PAGE = "docs/operations/licences.md"
PRODUCT = ("pigeonhole-server", ("api", "worker", "local"))
_CLASSIFIER = "License :: OSI Approved :: "
_SHORT = 60  # characters: what is longer is the text of a licence, not its name


def runtime_packages() -> dict[str, str]:
    """The licence of each installed package that the service needs, without those for tests."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [PRODUCT]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, extras = wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        if name != PRODUCT[0]:
            found[name] = licence_of(package)
        for requirement in map(Requirement, package.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
                name_of = canonicalize_name(requirement.name)
                waiting.append((str(name_of), tuple(sorted(requirement.extras))))
    return dict(sorted(found.items()))


def licence_of(package: Distribution) -> str:
    """What a package says of its licence: an SPDX expression, a classifier, or a field."""
    metadata = package.metadata
    expression, field = (
        " ".join(metadata.get_all(name) or ()) for name in ("License-Expression", "License")
    )
    classifiers = [
        each.removeprefix(_CLASSIFIER)
        for each in metadata.get_all("Classifier") or ()
        if each.startswith(_CLASSIFIER)
    ]
    if not expression and not classifiers and (not field or len(field) > _SHORT):
        return _by_file(package)
    return expression or " and ".join(classifiers) or field


def _by_file(package: Distribution) -> str:
    """The name of the licence whose file the package has."""
    for path in package.files or ():
        if re.search(r"licen[cs]e", path.name, re.I):
            text = path.read_text("utf-8")
            for words, name in (
                ("MIT License", "MIT"),
                ("Permission is hereby granted, free of charge", "MIT"),
                ("Apache License", "Apache-2.0"),
                ("Redistribution and use in source and binary forms", "BSD"),
                ("NVIDIA", "NVIDIA proprietary"),
            ):
                if words in text:
                    return name
    return "unknown"


def main() -> None:
    """Write the page."""
    rows = table(("package", "licence"), *runtime_packages().items())
    path = ROOT / PAGE
    path.write_text(rewritten(path.read_text("utf-8"), {"licences": rows}, page=PAGE), "utf-8")


if __name__ == "__main__":
    main()
