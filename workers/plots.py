"""Plots of an evaluation, as PNG and SVG."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from workers.core.evaluation import Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 60  # maximum number of labels with names beside the matrix
_NUMBERED = 20  # maximum number of labels with counts in the cells
_MAX_NAME = 30
# matplotlib has global fonts and settings; an evaluation draws two figures in half a second.
_drawing = threading.Lock()


def confusion_matrix(labels: Sequence[str], counts: NDArray[np.intp]) -> dict[str, bytes]:
    """Plot a confusion matrix (L, L), rows true and columns predicted, coloured by row share.

    Returns:
        The files `confusion_matrix.png` and `.svg`.
    """
    from matplotlib.figure import Figure

    size = min(4.5 + 0.32 * len(labels), 24.0)
    figure = Figure(figsize=(size, size * 0.9), layout="constrained")
    axes = figure.add_subplot()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (L, L)
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="fraction of the true label", shrink=0.8)
    if len(labels) <= _NAMED:
        names = [_name(label) for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(labels) <= _NUMBERED:
        for row, column in np.ndindex(*counts.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            number = str(counts[row, column])
            axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix, {counts.sum()} examples")
    return _files("confusion_matrix", figure)


def reliability(bins: Reliability, error: float) -> dict[str, bytes]:
    """Plot a reliability diagram: accuracy over confidence.

    Returns:
        The files `reliability.png` and `.svg`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 6.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width = 1.0 / len(bins.edges)
    middle = bins.edges - width / 2
    above.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    above.bar(middle, bins.accuracy, width * 0.95, color="#4878a8", label="fraction correct")
    shown = bins.counts > 0
    above.plot(bins.confidence[shown], bins.accuracy[shown], "o", color="#c44e52", markersize=4)
    above.set_ylabel("fraction correct")
    above.set_ylim(0, 1)
    above.legend(loc="upper left")
    above.set_title(f"Reliability, expected calibration error {error:.3f}")
    below.bar(middle, bins.counts, width * 0.95, color="grey")
    below.set_xlabel("confidence")
    below.set_ylabel("examples")
    below.set_xlim(0, 1)
    return _files("reliability", figure)


def _name(label: str) -> str:
    """The display form of a label. XML allows no control characters, not even escaped.

    >>> _name("a\\x00b")
    'a b'
    """
    text = "".join(letter if letter.isprintable() else " " for letter in label)
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def _files(name: str, figure: Figure) -> dict[str, bytes]:
    from matplotlib import rc_context

    files: dict[str, bytes] = {}
    with _drawing, warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
        warnings.simplefilter("ignore")  # a label may have letters that the font lacks
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files
