"""Drawing as SVG: no script, no font and no image of another place.

Colours are classes of `plots.css`, so that a plot follows light and dark. Each plot has a sentence
for a reader who does not see it. Widths and heights are in units of the view box.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement, tostring

WIDTH = 340.0
LEFT, RIGHT, TOP = 34.0, 8.0, 8.0
BOTTOM = TOP + 200.0  # of the area of a plot with axes
_MAX_NAME = 32

Scale = Callable[[float], float]
"""Where a value is drawn."""


def axes(plot: Element, y: Scale, low: float, high: float, *, digits: int = 2) -> None:
    """The axes, with five numbers on the vertical one."""
    corner = f"M{LEFT} {TOP}V{BOTTOM}H{WIDTH - RIGHT}"
    SubElement(plot, "path", {"class": "axis", "d": corner})
    for step in range(5):
        tick = low + (high - low) * step / 4
        text(plot, LEFT - 5, y(tick) + 4, f"{tick:.{digits}f}", "end")


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """That of a range."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def drawing(told: str, height: float) -> Element:
    """A drawing; `told` is its sentence."""
    return Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "plot",
            "viewBox": f"0 0 {WIDTH:g} {height:g}",
            "role": "img",
            "aria-label": told,
        },
    )


def text(plot: Element, x: float, y: float, words: str, anchor: str) -> Element:
    """A text; `anchor` is where of it the point is."""
    made = SubElement(plot, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    made.text = words
    return made


def rect(plot: Element, x: float, y: float, width: float, height: float, kind: str) -> Element:
    """A rectangle of a class."""
    place = {"x": x, "y": y, "width": width, "height": height}
    return SubElement(plot, "rect", {"class": kind} | {k: f"{v:.1f}" for k, v in place.items()})


def circle(plot: Element, x: float, y: float, radius: float, kind: str) -> Element:
    """A circle of a class."""
    place = {"cx": x, "cy": y, "r": radius}
    return SubElement(plot, "circle", {"class": kind} | {k: f"{v:.1f}" for k, v in place.items()})


def title(of: Element, words: str) -> None:
    """Give an element a text that appears over it."""
    SubElement(of, "title").text = words


def plain(label: str, most: int = _MAX_NAME) -> str:
    """A label as text of a plot. XML allows no control characters, not even escaped.

    >>> plain("a\\x00b")
    'a b'
    """
    text = "".join(letter if letter.isprintable() else " " for letter in label)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def markup(plot: Element) -> str:
    """The SVG of a drawing."""
    return tostring(plot, encoding="unicode")
