"""What the commands share: the client, options, examples in the help, tables and JSON."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec

from pigeonhole_client._sync.client import Pigeonhole
from pigeonhole_client.errors import ConfigurationError, Error

F = TypeVar("F", bound=Callable[..., Any])
_TELL_EVERY_S = 5.0


class _WithExample(click.Command):
    """A command whose help ends with an example that runs."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Command(_WithExample):
    """A command."""


class Group(_WithExample, click.Group):
    """A command with commands below it."""

    command_class = Command


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a pipe.")


def open_client(context: click.Context, *, patience_s: float = 60.0) -> Pigeonhole:
    """The client of a command; closed when the command ends."""
    last = -_TELL_EVERY_S

    def tell(_: float, error: Error) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY_S:
            last = time.monotonic()
            click.echo(f"pigeonhole: {error}; trying again", err=True)

    client = Pigeonhole(**context.obj, patience_s=patience_s, on_wait=tell)
    return context.with_resource(client)


def label_options(command: F) -> F:
    """The options that say what is asked."""
    for option in (
        click.option("--classifier", metavar="REF", help="Classify with it, instead of labels."),
        click.option("--label", "more", multiple=True, help="One label; may stand several times."),
        click.option("--labels", metavar="A,B,C", help="The labels."),
    ):
        command = option(command)
    return command


def answer_options(command: F) -> F:
    """The options that say how labels are scored and chosen."""
    for option in (
        click.option("--model", help="The server's default if absent."),
        click.option("--multi-label", is_flag=True, help="Any number of labels may apply."),
        click.option("--threshold", type=float, help="Least score of a label."),
        click.option("--top-k", type=int, help="Most labels of an answer."),
        click.option(
            "--description",
            "descriptions",
            multiple=True,
            metavar="LABEL=TEXT",
            help="What a label means; may stand several times.",
        ),
    ):
        command = option(command)
    return command


def labels_of(labels: str | None, more: Sequence[str]) -> list[str] | None:
    """The labels of `--labels` and `--label`; None where there are none."""
    found = [label.strip() for label in (labels or "").split(",") if label.strip()] + list(more)
    return found or None


def options_of(
    model: str | None,
    multi_label: bool,
    threshold: float | None,
    top_k: int | None,
    descriptions: Sequence[str],
) -> dict[str, Any]:
    """The options of an answer that were given.

    Raises:
        ConfigurationError: A description does not name its label.
    """
    meant = {}
    for each in descriptions:
        label, equals, text = each.partition("=")
        if not equals:
            raise ConfigurationError(f"--description {each!r} is not LABEL=TEXT")
        meant[label] = text
    chosen: dict[str, Any] = {"model": model, "threshold": threshold, "top_k": top_k}
    chosen |= {"multi_label": multi_label or None, "descriptions": meant or None}
    return {name: value for name, value in chosen.items() if value is not None}


def echo_json(value: Any) -> None:
    """One value as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def echo_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under their titles; on a terminal the last column is cut to its width."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for number, row in enumerate((list(head), *cells)):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line = "  ".join(padded).rstrip()
        line = line[: room - 1] + "…" if room and len(line) > room else line
        click.echo(click.style(line, bold=True) if number == 0 else line)


def echo_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line."""
    named = list(fields)
    width = max(len(name) for name, _ in named)
    for name, value in named:
        click.echo(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items()) or "-"
    return " ".join(str(value).split())
