"""tag: a file of rows in, the same rows with their predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pigeonhole_client import _tag_state
from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import Command, as_json, echo_json
from pigeonhole_client.errors import ConfigurationError
from pigeonhole_client.tagging import TagResult

ROWS_FAILED = 3


@click.command(
    cls=Command,
    example="pigeonhole tag tickets.csv --labels delivery,billing,bug -o tagged.csv",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@context.label_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="OUT",
    help="Ends in .csv, .jsonl or .parquet; FILE.tagged.… beside FILE if absent.",
)
@click.option("--errors", type=click.Path(dir_okay=False), help="Failed rows, as lines of JSON.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run on FILE.")
@click.option("--fresh", is_flag=True, help="Begin anew, whatever an earlier run has left.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@context.answer_options
@click.option("--id-column", help="What to call the rows; their numbers if absent.")
@click.option("--text-column", help="`text` if absent.")
@click.option("--image-column", help="Instead of a text.")
@click.option("--file-column", help="Instead of a text.")
@click.option("--delimiter", help="Of a CSV; found out if absent.")
@click.option("--encoding", help="Found out if absent.")
@click.option("--skip-rows", type=int, help="Lines above the header of a CSV.")
@click.option("--csv-formulas", type=click.Choice(["keep", "escape"]), help="Of a CSV output.")
@click.option("--csv-delimiter", help="Of a CSV output; `,` if absent.")
@click.option("--csv-decimal", type=click.Choice([".", ","]), help="Of numbers in a CSV output.")
@click.option("--csv-bom", is_flag=True, default=None, help="A CSV output begins with a byte order "
              "mark, by which Excel reads UTF-8.")  # fmt: skip
@click.option("--completion-window", help="Rows not begun by then expire; 24h if absent.")
@click.option("--patience", type=float, default=600.0, show_default=True, help="Seconds to wait "
              "for a service that is away or busy.")  # fmt: skip
@as_json
@click.pass_context
def tag(
    ctx: click.Context,
    /,
    file: Path,
    labels: str | None,
    more: Sequence[str],
    classifier: str | None,
    resume: bool,
    fresh: bool,
    quiet: bool,
    patience: float,
    as_json: bool,
    **rest: Any,
) -> int:
    """Tag the rows of a CSV, JSONL or Parquet FILE, plain or as .gz or .zst.

    Shows rows, rate, time left and failed rows. A run that was stopped goes on where it was when
    the same command is given again, or `pigeonhole tag FILE --resume`: no second upload, no second
    batch. A service that is busy or restarts is waited for.

    Exit status: 0; 3 where rows failed, which the summary and the errors file explain; 1 or 2
    where the run did not end.
    """
    client = context.open_client(ctx)
    names = ("model", "multi_label", "threshold", "top_k", "descriptions")
    options = context.options_of(**{name: rest.pop(name) for name in names})
    asked = context.labels_of(labels, more)
    given = {name: value for name, value in rest.items() if value is not None}
    try:
        if resume:
            if asked or classifier or fresh or options or given:
                raise ConfigurationError("--resume needs FILE only: the run knows the rest")
            result = client.batches.resume_tag(file, progress=not quiet, patience_s=patience)
        else:
            result = client.batches.tag(
                file,
                asked,
                classifier=classifier,
                progress=not quiet,
                resume=not fresh,
                patience_s=patience,
                **given,
                **options,
            )
    except BaseException:
        if _is_begun(file):
            click.echo("pigeonhole: the same command goes on where this one stopped", err=True)
        raise
    _tell(result, as_json=as_json)
    return ROWS_FAILED if result.failed else 0


def _is_begun(file: Path) -> bool:
    try:
        _tag_state.interrupted(file)
    except ConfigurationError:
        return False
    return True


def _tell(result: TagResult, *, as_json: bool) -> None:
    if as_json:
        echo_json(result.to_dict())
    else:
        click.echo(result.summary())
