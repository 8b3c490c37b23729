"""retrain: a night by hand, for cron, Airflow and people."""

from __future__ import annotations

import click

from pigeonhole_client._sync.client import Pigeonhole
from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import Command, as_json, echo_fields, echo_json
from pigeonhole_client.errors import NotFound
from pigeonhole_client.types import RetrainingRun

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
@as_json
@click.pass_context
def retrain(
    ctx: click.Context,
    /,
    name: str,
    files: tuple[str, ...],
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Retrain the classifier NAME, and promote the new version if it is better.

    A classifier without a retraining gets one with the default settings. Exit status with --wait: 0
    promoted, 3 not promoted, 1 failed.
    """
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
    if as_json:
        echo_json(run.to_dict())
    else:
        _show(run)
    return 0 if run.status == "promoted" else NOT_PROMOTED


def _ensure(client: Pigeonhole, name: str) -> None:
    try:
        client.retraining.get(name)
    except NotFound:
        client.classifiers.get(name)  # the classifier itself must be there
        client.retraining.put(name)


def _show(run: RetrainingRun) -> None:
    counts = run.counts
    echo_fields(
        [
            ("run", run.id),
            ("status", run.status),
            ("champion", run.champion),
            ("challenger", run.challenger),
            ("new examples", counts.get("new")),
            ("held out", counts.get("held_out")),
        ]
    )
    for reason in run.decision.reasons if run.decision else []:
        click.echo(reason)
