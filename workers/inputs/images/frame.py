"""What a model wants its images to be, and what an image is once it is so.

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
    """How an image of any size becomes one of H x W.

    `shortest`: scaled until the shorter side fits, the middle cut out; `longest`: scaled until the
    longer side fits, the rest filled; `squash`: scaled to H x W whatever its proportions.
    """

    height: int
    width: int
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0  # brightness of what is filled, 0 to 255
