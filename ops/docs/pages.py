"""Text between markers: `<!-- errors -->` above a generated table, `<!-- /errors -->` below it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rewritten(text: str, tables: Mapping[str, str], *, page: str) -> str:
    """A page with the text between its markers replaced.

    Args:
        text: The page.
        tables: The new text of each marker, by the marker's name.
        page: The path of the page, for the error.

    Raises:
        LookupError: The page lacks a pair of markers, or has it twice.

    >>> rewritten("<!-- a -->\\nold\\n<!-- /a -->\\n", {"a": "new"}, page="a.md")
    '<!-- a -->\\nnew\\n<!-- /a -->\\n'
    """
    for name, table in tables.items():
        parts = re.split(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", text, flags=re.S)
        if len(parts) != 2:
            raise LookupError(f"{page} needs exactly one pair of markers <!-- {name} -->")
        text = f"{table}\n".join(parts)
    return text


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head.

    >>> print(table(("a", "b"), ("1", "2")))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
