"""The usage report and the balance of an account."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from shared.statements import Balance
from shared.usage import COUNTS, UsageCounts, UsageRow

GroupBy = Literal["hour", "day", "model", "endpoint", "key", "classifier"]


class UsageAmounts(BaseModel):
    """Amounts of work. `tokens`, the sum of the four token counts, is charged."""

    requests: int = Field(description="Synchronous calls and jobs; a batch is one request.")
    items: int = Field(description="Items with a result.")
    failed_items: int = Field(description="Items without a result; they are free.")
    tokens: int = Field(description="Charged tokens.")
    input_tokens: int = Field(description="Of texts.")
    label_tokens: int = Field(description="Of labels and descriptions.")
    visual_tokens: int = Field(description="Of images: 1,000 for each tile of 224 x 224 pixels.")
    train_tokens: int = Field(description="Of examples that were learnt, times their iterations.")
    cached: int = Field(description="Of the items, those from the result cache; free.")


class UsageGroup(UsageAmounts):
    """The usage of one group."""

    group: str = Field(
        description="The hour or day in UTC, or the name or id that `group_by` says; empty: none."
    )


class UsageReport(BaseModel):
    """The usage of the account, group by group, until this moment."""

    object: Literal["list"]
    group_by: GroupBy
    from_: str = Field(alias="from", description="First hour of the report, in UTC.")
    to: str = Field(description="Last hour of the report, in UTC; it is included.")
    data: list[UsageGroup]
    total: UsageAmounts


class BalanceObject(BaseModel):
    """The tokens of the account."""

    object: Literal["balance"]
    unlimited: bool = Field(description="The tier of the account has no balance.")
    balance: int | None = Field(description="Tokens left; null if unlimited.")
    granted: int = Field(description="All tokens that were ever granted.")
    used: int = Field(description="All tokens that were ever charged.")


def render_report(rows: Iterable[UsageRow], group_by: GroupBy, first: str, last: str) -> object:
    """The body of a report of these rows."""
    rows = list(rows)
    groups = grouped(rows, group_by)
    return {
        "object": "list",
        "group_by": group_by,
        "from": first,
        "to": last,
        "data": [{"group": name, **_amounts(counts)} for name, counts in groups.items()],
        "total": _amounts(_total(rows)),
    }


def render_csv(rows: Iterable[UsageRow], group_by: GroupBy) -> str:
    """The report as CSV, without the total."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([group_by, *UsageAmounts.model_fields])
    for name, counts in grouped(rows, group_by).items():
        amounts = _amounts(counts)
        writer.writerow([name, *(amounts[field] for field in UsageAmounts.model_fields)])
    return text.getvalue()


def render_balance(balance: Balance, *, unlimited: bool) -> dict[str, object]:
    """The body of a balance."""
    return {
        "object": "balance",
        "unlimited": unlimited,
        "balance": None if unlimited else balance.left,
        "granted": balance.granted,
        "used": balance.charged,
    }


def grouped(rows: Iterable[UsageRow], group_by: GroupBy) -> dict[str, UsageCounts]:
    """The sums of the rows, by group, in order of the groups."""
    sums: dict[str, list[UsageRow]] = {}
    for row in rows:
        name = row.hour[: len("2026-01-31")] if group_by == "day" else getattr(row, group_by)
        sums.setdefault(name, []).append(row)
    return {name: _total(sums[name]) for name in sorted(sums)}


def _total(rows: Iterable[UsageRow]) -> UsageCounts:
    total = UsageCounts()
    for row in rows:
        total = total.plus(row)
    return total


def _amounts(counts: UsageCounts) -> dict[str, int]:
    return {"tokens": counts.tokens, **{name: getattr(counts, name) for name in COUNTS}}
