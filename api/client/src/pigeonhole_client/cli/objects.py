"""batches, jobs and classifiers: list, look at, end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import Group, as_json, echo_fields, echo_json, echo_table
from pigeonhole_client.cli.tag import ROWS_FAILED
from pigeonhole_client.drift import DriftMeasure
from pigeonhole_client.types import Batch, Job, Record

DRIFTED = 3

_limit = click.option("--limit", default=20, show_default=True, help="Most of them, newest first.")


def _show(
    records: Iterable[Record], head: Sequence[str], row: Callable[..., Any], as_json: bool
) -> None:
    """Records as lines of JSON, or as a table."""
    if as_json:
        for record in records:
            echo_json(record.to_dict())
    else:
        echo_table(head, [row(record) for record in records])


@click.group(cls=Group, example="pigeonhole batches list")
def batches() -> None:
    """List, look at, end and repeat batches."""


_BATCH = ("id", "status", "total", "completed", "failed", "rows/s", "created")


def _batch_row(batch: Batch) -> tuple[Any, ...]:
    counts = batch.request_counts
    rate = batch.progress.rate_per_s
    created = datetime.fromtimestamp(batch.created_at, UTC)
    shown = None if rate is None else f"{rate:,.0f}"
    return batch.id, batch.status, counts.total, counts.completed, counts.failed, shown, created


def _show_batch(batch: Batch, as_json: bool) -> int:
    _show([batch], _BATCH, _batch_row, as_json)
    if not as_json:
        for fault in batch.errors.data if batch.errors else []:
            place = f"line {fault.line}: " if fault.line else ""
            click.echo(f"  {place}{fault.message} ({fault.code})")
    return ROWS_FAILED if batch.ended and batch.request_counts.failed else 0


@batches.command("list", example="pigeonhole batches list --limit 5")
@_limit
@as_json
@click.pass_context
def _list_batches(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the newest batches."""
    _show(context.open_client(ctx).batches.list(limit), _BATCH, _batch_row, as_json)


@batches.command("show", example="pigeonhole batches show $BATCH")
@click.argument("batch")
@as_json
@click.pass_context
def _show_one_batch(ctx: click.Context, batch: str, as_json: bool) -> None:
    """Show one batch, with the first of its bad rows."""
    _show_batch(context.open_client(ctx).batches.get(batch), as_json)


@batches.command("wait", example="pigeonhole batches wait $BATCH")
@click.argument("batch")
@as_json
@click.pass_context
def _wait_batch(ctx: click.Context, batch: str, as_json: bool) -> int:
    """Wait until a batch has ended. Exit status 3 where rows failed."""
    return _show_batch(context.open_client(ctx, patience_s=600).batches.wait(batch), as_json)


@batches.command("download", example="pigeonhole batches download $BATCH -o rows.jsonl")
@click.argument("batch")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where its output goes.")
@click.option("--errors", metavar="FILE", help="Where its failed rows go.")
@click.pass_context
def _download_batch(ctx: click.Context, batch: str, output: str, errors: str | None) -> None:
    """Download what came out of a batch that has ended."""
    client = context.open_client(ctx)
    found = client.batches.get(batch)
    for file_id, path in ((found.output_file_id, output), (found.error_file_id, errors)):
        if file_id and path:
            click.echo(client.files.download(file_id, path))


@batches.command("cancel", example="pigeonhole batches cancel $RUNNING_BATCH")
@click.argument("batch")
@as_json
@click.pass_context
def _cancel_batch(ctx: click.Context, batch: str, as_json: bool) -> None:
    """End a batch; what is finished is kept."""
    _show([context.open_client(ctx).batches.cancel(batch)], _BATCH, _batch_row, as_json)


@batches.command("retry", example="pigeonhole batches retry $BATCH --all")
@click.argument("batch")
@click.option("--all", "every", is_flag=True, help="Also rows that will hardly fare better.")
@as_json
@click.pass_context
def _retry_batch(ctx: click.Context, batch: str, every: bool, as_json: bool) -> None:
    """Make a batch of the rows that did not come out of one that has ended."""
    rows = "all" if every else None
    _show([context.open_client(ctx).batches.retry(batch, rows=rows)], _BATCH, _batch_row, as_json)


@click.group(cls=Group, example="pigeonhole jobs list")
def jobs() -> None:
    """List, look at and end jobs."""


_JOB = ("id", "kind", "status", "total", "completed", "failed", "created", "error")


def _job_row(job: Job) -> tuple[Any, ...]:
    done = job.progress
    counts = (done.total, done.completed, done.failed)
    reason = job.error.detail if job.error else None
    return job.id, job.kind, job.status, *counts, job.created_at, reason


@jobs.command("list", example="pigeonhole jobs list --limit 5")
@_limit
@as_json
@click.pass_context
def _list_jobs(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the newest jobs."""
    _show(context.open_client(ctx).jobs.list(limit), _JOB, _job_row, as_json)


@jobs.command("show", example="pigeonhole jobs show $JOB --json")
@click.argument("job")
@as_json
@click.pass_context
def _show_job(ctx: click.Context, job: str, as_json: bool) -> None:
    """Show one job; with --json also its result, if that is small."""
    _show([context.open_client(ctx).jobs.get(job)], _JOB, _job_row, as_json)


@jobs.command("wait", example="pigeonhole jobs wait $JOB")
@click.argument("job")
@as_json
@click.pass_context
def _wait_job(ctx: click.Context, job: str, as_json: bool) -> None:
    """Wait until a job has ended. Exit status 1 where it has no result."""
    _show([context.open_client(ctx, patience_s=600).jobs.wait(job)], _JOB, _job_row, as_json)


@jobs.command("cancel", example="pigeonhole jobs cancel $RUNNING_JOB")
@click.argument("job")
@as_json
@click.pass_context
def _cancel_job(ctx: click.Context, job: str, as_json: bool) -> None:
    """Cancel a job that waits or runs."""
    _show([context.open_client(ctx).jobs.cancel(job)], _JOB, _job_row, as_json)


@click.group(cls=Group, example="pigeonhole classifiers list")
def classifiers() -> None:
    """List, look at, roll back and delete classifiers. REF: an id, a name, name@v3, name@alias."""


@classifiers.command("list", example="pigeonhole classifiers list")
@as_json
@click.pass_context
def _list_classifiers(ctx: click.Context, as_json: bool) -> None:
    """List all classifiers, newest first."""
    _show(
        context.open_client(ctx).classifiers.list(),
        ("name", "id", "version", "model", "labels", "aliases", "updated"),
        lambda each: (
            each.name,
            each.classifier_id,
            each.version,
            each.model,
            len(each.labels),
            each.aliases,
            each.updated_at,
        ),
        as_json,
    )


@classifiers.command("show", example="pigeonhole classifiers show inbox")
@click.argument("ref")
@as_json
@click.pass_context
def _show_classifier(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Show one classifier."""
    found = context.open_client(ctx).classifiers.get(ref)
    if as_json:
        echo_json(found.to_dict())
        return
    echo_fields(
        [
            ("name", found.name),
            ("id", found.classifier_id),
            ("version", found.version),
            ("model", found.model),
            ("access", found.access),
            ("aliases", found.aliases),
            ("labels", [f"{each.label} ({each.count})" for each in found.labels]),
            ("examples", found.num_samples),
            ("accuracy", found.metrics.accuracy if found.metrics else None),
        ]
    )
    for remark in found.remarks:
        click.echo(remark.message)


@classifiers.command("versions", example="pigeonhole classifiers versions inbox")
@click.argument("ref")
@as_json
@click.pass_context
def _versions(ctx: click.Context, ref: str, as_json: bool) -> None:
    """List the versions of a classifier that are kept."""
    _show(
        context.open_client(ctx).classifiers.versions(ref),
        ("version", "made by", "examples", "labels", "accuracy", "aliases", "created"),
        lambda each: (
            each.version,
            each.made_by,
            each.samples,
            each.label_count,
            each.accuracy,
            each.aliases,
            each.created_at,
        ),
        as_json,
    )


@classifiers.command("drift", example="pigeonhole classifiers drift inbox --window 24h")
@click.argument("ref")
@click.option("--window", help="The time up to now, such as 24h or 7d; 7d if absent.")
@as_json
@click.pass_context
def _drift(ctx: click.Context, ref: str, window: str | None, as_json: bool) -> int:
    """Show whether what a classifier classifies has changed. Exit status 3 if it has."""
    found = context.open_client(ctx).classifiers.drift(ref, window=window)
    if as_json:
        echo_json(found.to_dict())
    else:
        echo_table(
            ("date", "items", "uncertain", "labels", "confidence", "embedding", "drifted"),
            [
                (each.date, each.items, each.uncertain, *_shown(each.measures), each.drifted)
                for each in found.days
            ],
        )
        whole = _shown(found.measures)
        names = ("labels", "confidence", "embedding")
        echo_fields([*zip(names, whole, strict=True), ("drifted", found.drifted)])
    return DRIFTED if found.drifted else 0


def _shown(measures: dict[str, DriftMeasure] | None) -> list[str]:
    """The measures beside their thresholds."""
    if measures is None:
        return ["", "", ""]
    found = [measures[name] for name in ("labels", "confidence", "embedding")]
    return [f"{each.value:.2f} of {each.threshold:.2f}" for each in found]


@classifiers.command("rollback", example="pigeonhole classifiers rollback inbox --version 1")
@click.argument("ref")
@click.option("--version", type=int, help="The version to go back to.")
@click.option("--alias", help="Or the one that an alias names.")
@click.pass_context
def _rollback(ctx: click.Context, ref: str, version: int | None, alias: str | None) -> None:
    """Make an old version the latest, as a new version."""
    made = context.open_client(ctx).classifiers.rollback(ref, version=version, alias=alias)
    click.echo(f"{made.name or made.classifier_id} is at version {made.version}")


@classifiers.command("delete", example="pigeonhole classifiers delete old --yes")
@click.argument("ref")
@click.confirmation_option(prompt="Delete it, with all its versions?")
@click.pass_context
def _delete(ctx: click.Context, ref: str) -> None:
    """Delete a classifier, with all its versions."""
    context.open_client(ctx).classifiers.delete(ref)
    click.echo(f"{ref} is deleted")
