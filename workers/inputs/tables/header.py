"""The header of a table: unique column names, and the check for the requested columns.

A column without a name, such as the index that pandas writes, is called `column_1` by its position.
The second of two columns with one name is called `name_2`. Such names count like any other. A
duplicate name is an error only if the request refers to it, since it is ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from shared.errors import FieldError, InvalidRequest
from workers.inputs.tables.row import MAX_COLUMNS, unreadable

_SHOWN_COLUMNS = 10
_SHOWN_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class RequestedColumns:
    """The columns that a request names.

    Attributes:
        required: the column names, by the field of the request, such as `text_column`.
        optional: columns that are read if they exist.
    """

    required: Mapping[str, str] = field(default_factory=dict)
    optional: Sequence[str] = ()

    @property
    def texts(self) -> frozenset[str]:
        """The required columns that hold texts; the others may hold images, as bytes.

        >>> sorted(RequestedColumns(required={"image_column": "photo", "id_column": "id"}).texts)
        ['id']
        """
        media = ("image_column", "file_column")
        return frozenset(name for where, name in self.required.items() if where not in media)

    def found(self, names: Sequence[str]) -> int:
        """The number of required columns among the names.

        >>> requested = RequestedColumns(required={"text_column": "text", "id_column": "id"})
        >>> requested.found(["no", " text"])
        1
        """
        there = {name.strip() for name in names}
        return sum(name in there for name in self.required.values())

    def all_in(self, names: Sequence[str]) -> bool:
        """Whether the names include all required columns, and there are any."""
        return bool(self.required) and self.found(names) == len(self.required)


def columns(
    header: Sequence[str], wanted: RequestedColumns | None = None, *, hint: str = ""
) -> list[str]:
    """Make the column names of a table unique and check the requested columns.

    Args:
        header: the names in the table.
        wanted: the requested columns, each of which must exist once.
        hint: advice for the error message if a column is missing.

    Raises:
        InvalidRequest: A requested column is missing or ambiguous; the error names its field.

    >>> columns(["", "text", "note", "note"])
    ['column_1', 'text', 'note', 'note_2']
    """
    if len(header) > MAX_COLUMNS:
        unreadable(f"has {len(header)} columns; the limit is {MAX_COLUMNS}")
    used = set(header)
    names: dict[str, None] = {}  # in order
    numbers: dict[str, Iterator[int]] = {}  # next suffix to try, by name
    for place, name in enumerate(header, start=1):
        free = name or f"column_{place}"
        if free in (names if name else used):
            suffixes = numbers.setdefault(free, count(2))
            free = next(each for n in suffixes if (each := f"{free}_{n}") not in used)
        used.add(free)
        names[free] = None
    if wanted is not None:
        _check(header, list(names), wanted, hint)
    return list(names)


def listed(names: Sequence[str]) -> str:
    """Names for a message, in quotes, so that whitespace is visible.

    >>> listed(["id", " text"])
    "'id', ' text'"
    """
    shown = ", ".join(repr(_cut(name)) for name in names[:_SHOWN_COLUMNS])
    return shown + (", …" if len(names) > _SHOWN_COLUMNS else "")


def _check(
    header: Sequence[str], names: Sequence[str], wanted: RequestedColumns, hint: str
) -> None:
    advice = hint or (
        "Use one of these names; if they are the first data row, add a header row above it"
    )
    missing = [
        FieldError(
            field=where,
            message=f"the table has no column {_cut(name)!r}; there are: {listed(names)}. {advice}",
        )
        for where, name in wanted.required.items()
        if name not in names
    ]
    if missing:
        first = missing[0]
        raise InvalidRequest(f"{first.field}: {first.message}", fields=tuple(missing))
    fields = {name: where for where, name in wanted.required.items()}
    for name in (*wanted.required.values(), *wanted.optional):
        places = [place for place, each in enumerate(header, start=1) if each == name]
        if len(places) > 1:
            unreadable(
                f"columns {places[0]} and {places[1]} are both called {_cut(name)!r}: rename one",
                field=fields.get(name, "file"),
            )


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARS else name[: _SHOWN_CHARS - 1] + "…"
