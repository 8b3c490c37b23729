"""The frame: the image format that a model requires, and the pixels of an image in it.

Letters: H and W the height and width of a frame, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3): red, green and blue, 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How an image of any size is resized to H x W.

    `shortest`: the shorter side fits, and the middle is cropped; `longest`: the longer side fits,
    and the rest is padded; `squash`: scaled to H x W regardless of its proportions.
    """

    height: int
    width: int
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0  # brightness of the padding, 0 to 255
