"""Partition columns: values in the key of an object, as Hive, Spark and DuckDB write them.

    tickets/dt=2026-01-01/country=DE/part-0.parquet   dt = '2026-01-01', country = 'DE'

Every value is a string. A column of the same name in the object has precedence, since it may have a
type: a key never changes a value of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import pyarrow as pa

from workers.inputs.tables.header import columns
from workers.inputs.tables.output_columns import Values

_NULL = "__HIVE_DEFAULT_PARTITION__"

Partitions = Mapping[str, str | None]


def partitions_of(key: str) -> Partitions:
    """The columns that a key says, in its order; of two with one name the one nearer to the object.

    >>> partitions_of("in/dt=2026-01-01/at=09%3A30/x=__HIVE_DEFAULT_PARTITION__/a=b.csv")
    {'dt': '2026-01-01', 'at': '09:30', 'x': None}
    """
    found: dict[str, str | None] = {}
    for segment in key.split("/")[:-1]:
        name, equals, value = segment.partition("=")
        if equals and name:
            found[_unescaped(name)] = None if value == _NULL else _unescaped(value)
    return found


def with_partitions(data: Values, partitions: Partitions) -> Values:
    """A row with the columns that it does not have itself, after its own.

    >>> with_partitions({"id": 1, "dt": "mine"}, {"dt": "2026", "country": "DE"})
    {'id': 1, 'dt': 'mine', 'country': 'DE'}
    """
    others = {name: value for name, value in partitions.items() if name not in data}
    return {**data, **others} if others else data


def batch_with_partitions(batch: pa.RecordBatch, partitions: Partitions) -> pa.RecordBatch:
    """The same for rows as Arrow has them."""
    own = set(columns(batch.schema.names))
    for name, value in partitions.items():
        if name not in own:
            values = pa.repeat(pa.scalar(value, pa.string()), batch.num_rows)
            batch = batch.append_column(pa.field(name, pa.string()), values)
    return batch


def _unescaped(text: str) -> str:
    """A name or value, in which `%3A` stands for `:`, if it is text then."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
