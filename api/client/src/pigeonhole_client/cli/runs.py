"""runs: what the nights of a classifier have decided and why, and decisions by hand."""

from __future__ import annotations

from pathlib import Path

import click

from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import (
    Command,
    Group,
    as_json,
    echo_fields,
    echo_json,
    echo_table,
)
from pigeonhole_client.types import RetrainingRun

_HEAD = ("run", "started", "status", "champion", "challenger", "new", "reason")


@click.group(cls=Group, example="pigeonhole runs list inbox")
def runs() -> None:
    """List, look at and decide the runs of a retraining."""


def echo_run(run: RetrainingRun) -> None:
    """A run with its counts and the reasons of its decision."""
    counts = run.counts
    test = run.test or {}
    echo_fields(
        [
            ("run", run.id),
            ("status", run.status),
            ("champion", run.champion),
            ("challenger", run.challenger),
            ("new examples", counts.get("new")),
            ("held out", counts.get("held_out")),
            ("duplicate", counts.get("duplicate")),
            ("conflicting", counts.get("conflicting")),
            ("bad", counts.get("bad")),
            ("gain", test.get("gain")),
            ("interval", test.get("interval")),
            ("p-value", test.get("p_value")),
        ]
    )
    for reason in run.reasons:
        click.echo(reason)


@runs.command("list", cls=Command, example="pigeonhole runs list inbox --limit 5")
@click.argument("name")
@click.option("--limit", default=20, show_default=True, help="Most of them, newest first.")
@as_json
@click.pass_context
def _list(ctx: click.Context, name: str, limit: int, as_json: bool) -> None:
    """List the newest runs of the classifier NAME, each with its first reason."""
    found = list(context.open_client(ctx).retraining.runs(name, limit))
    if as_json:
        for run in found:
            echo_json(run.to_dict())
        return
    echo_table(_HEAD, [_row(run) for run in found])


def _row(run: RetrainingRun) -> tuple[object, ...]:
    reason = run.reasons[0] if run.reasons else None
    versions = (run.champion, run.challenger)
    return run.id, run.started_at, run.status, *versions, run.counts.get("new"), reason


@runs.command("show", cls=Command, example="pigeonhole runs show inbox $RUN")
@click.argument("name")
@click.argument("run")
@as_json
@click.pass_context
def _show(ctx: click.Context, name: str, run: str, as_json: bool) -> None:
    """Show one run with all reasons; with --json also its figures by label."""
    _echo(context.open_client(ctx).retraining.run(name, run), as_json)


@runs.command("report", cls=Command, example="pigeonhole runs report inbox $RUN -o report.html")
@click.argument("name")
@click.argument("run")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the HTML page goes.")
@click.pass_context
def _report(ctx: click.Context, name: str, run: str, output: str) -> None:
    """Write the report of a run: one HTML page that needs nothing else."""
    Path(output).write_text(context.open_client(ctx).retraining.report(name, run), "utf-8")
    click.echo(output)


@runs.command("promote", cls=Command, example="pigeonhole runs promote inbox $RUN")
@click.argument("name")
@click.argument("run")
@as_json
@click.pass_context
def _promote(ctx: click.Context, name: str, run: str, as_json: bool) -> None:
    """Promote the challenger of a run that waits."""
    _echo(context.open_client(ctx).retraining.promote(name, run), as_json)


@runs.command("reject", cls=Command, example="pigeonhole runs reject inbox $RUN")
@click.argument("name")
@click.argument("run")
@as_json
@click.pass_context
def _reject(ctx: click.Context, name: str, run: str, as_json: bool) -> None:
    """Reject the challenger of a run that waits."""
    _echo(context.open_client(ctx).retraining.reject(name, run), as_json)


@runs.command("rollback", cls=Command, example="pigeonhole runs rollback inbox")
@click.argument("name")
@click.pass_context
def _rollback(ctx: click.Context, name: str) -> None:
    """Move the alias back to the version before the last promotion."""
    version = context.open_client(ctx).retraining.rollback(name)
    click.echo(f"version {version} of {name} is live")


def _echo(run: RetrainingRun, as_json: bool) -> None:
    if as_json:
        echo_json(run.to_dict())
    else:
        echo_run(run)
