"""retrain: a night by hand, for cron, Airflow and people."""

from __future__ import annotations

from pathlib import Path

import click

from pigeonhole_client._sync.client import Pigeonhole
from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import Command, as_json, echo_fields, echo_json
from pigeonhole_client.cli.runs import echo_run
from pigeonhole_client.errors import ConfigurationError, NotFound

NOT_PROMOTED = 3


@click.command(cls=Command, example="pigeonhole retrain inbox --new examples.csv --wait")
@click.argument("name")
@click.option(
    "--new",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="A file of new labelled examples; may stand several times.",
)
@click.option("--dry-run", is_flag=True, help="Train and judge, but change nothing.")
@click.option("--wait", is_flag=True, help="Wait for the decision.")
@click.option("--report", metavar="FILE", help="With --wait: where the report goes, as HTML.")
@as_json
@click.pass_context
def retrain(
    ctx: click.Context,
    /,
    name: str,
    files: tuple[str, ...],
    dry_run: bool,
    wait: bool,
    report: str | None,
    as_json: bool,
) -> int:
    """Retrain the classifier NAME, and promote the new version if it is better.

    A classifier without a retraining gets one with the default settings. Exit status with --wait: 0
    promoted, 3 not promoted, 1 failed.
    """
    if report and not wait:
        raise ConfigurationError("--report needs --wait: a report is of a run that has ended")
    client = context.open_client(ctx)
    _ensure(client, name)
    for file in files:
        client.retraining.add_file(name, client.files.upload(file).id)
    job = client.retraining.start(name, dry_run=dry_run)
    if not wait:
        if as_json:
            echo_json(job.to_dict())
        else:
            echo_fields([("job", job.id), ("status", job.status)])
        return 0
    run = client.retraining.wait(name, job.id)
    if report:
        Path(report).write_text(client.retraining.report(name, run.id), "utf-8")
    if as_json:
        echo_json(run.to_dict())
    else:
        echo_run(run)
    return 0 if run.status == "promoted" else NOT_PROMOTED


def _ensure(client: Pigeonhole, name: str) -> None:
    try:
        client.retraining.get(name)
    except NotFound:
        client.classifiers.get(name)  # the classifier itself must be there
        client.retraining.put(name)
