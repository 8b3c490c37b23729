"""Measurements held against what was asked: one table, each row with a verdict."""

from __future__ import annotations

from ops.bench import machine


def head() -> None:
    """Print the machine and the head of the table."""
    print(f"# {machine.describe()}", flush=True)
    print("| what | measured | baseline | ratio | asked | met |", flush=True)
    print("| --- | --- | --- | --- | --- | --- |", flush=True)


def line(
    what: str,
    measured: str,
    baseline: str = "",
    ratio: float | None = None,
    asked: str = "",
    *,
    met: bool | None = None,
) -> None:
    """Print one row; without `met` nothing was asked, or it could not be tried."""
    shown = "" if ratio is None else f"{ratio:.2f}"
    verdict = "" if met is None else ("yes" if met else "**no**")
    print(f"| {what} | {measured} | {baseline} | {shown} | {asked} | {verdict} |", flush=True)
