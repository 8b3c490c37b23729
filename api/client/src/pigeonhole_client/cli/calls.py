"""classify, train and evaluate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from pigeonhole_client.cli import context
from pigeonhole_client.cli.context import Command, as_json, echo_fields, echo_json, echo_table
from pigeonhole_client.errors import ConfigurationError


@click.command(
    cls=Command,
    example="pigeonhole classify 'The parcel never arrived.' --labels complaint,praise",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@context.label_options
@context.answer_options
@as_json
@click.pass_context
def classify(
    ctx: click.Context,
    /,
    texts: Sequence[str],
    labels: str | None,
    more: Sequence[str],
    classifier: str | None,
    as_json: bool,
    **answer: Any,
) -> None:
    """Classify texts: those of the command line, else the lines of standard input.

    With --json, one line for each text.
    """
    inputs = list(texts) or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not inputs:
        raise ConfigurationError("there is no text to classify")
    client = context.open_client(ctx)
    options = context.options_of(**answer)
    result = client.classify(
        inputs, context.labels_of(labels, more), classifier=classifier, **options
    )
    if as_json:
        for text, entry in zip(inputs, result.data, strict=True):
            echo_json({"input": text, **entry.to_dict()})
        return
    rows = [
        (entry.prediction, entry.score, text)
        for text, entry in zip(inputs, result.data, strict=True)
    ]
    echo_table(("prediction", "score", "text"), rows)


@click.command(cls=Command, example="pigeonhole train examples.csv --name inbox")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", help="Of a new classifier.")
@click.option("--classifier", metavar="REF", help="The classifier to go on with.")
@click.option("--model", help="Of a new classifier.")
@click.option("--num-iters", type=int, help="How often each example is gone over; 10 if absent.")
@click.option("--keep-examples", is_flag=True, help="Keep the examples, for a rebuild.")
@click.option("--text-column", help="`text` if absent.")
@click.option("--label-column", help="`label` if absent.")
@as_json
@click.pass_context
def train(
    ctx: click.Context, /, file: str, as_json: bool, keep_examples: bool, **fields: Any
) -> None:
    """Make a classifier out of a CSV, JSONL or Parquet file of examples, or go on with one."""
    client = context.open_client(ctx)
    trained = client.train(file, keep_examples=keep_examples or None, **fields)
    if as_json:
        echo_json(trained.to_dict())
        return
    echo_fields(
        [
            ("classifier", trained.classifier_id),
            ("version", trained.version),
            ("examples", trained.num_samples),
            ("labels", trained.labels),
            ("accuracy", trained.metrics.accuracy if trained.metrics else None),
            ("tokens", trained.usage.total_tokens),
        ]
    )
    for remark in trained.remarks:
        click.echo(remark.message)


@click.command(cls=Command, example="pigeonhole evaluate inbox examples.csv")
@click.argument("classifier")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--text-column", help="`text` if absent.")
@click.option("--label-column", help="`label` if absent.")
@as_json
@click.pass_context
def evaluate(
    ctx: click.Context, /, classifier: str, file: str, as_json: bool, **columns: Any
) -> None:
    """Judge a CLASSIFIER by a file of labelled examples that it has not learnt."""
    report = context.open_client(ctx).evaluate(classifier, file, **columns)
    if as_json:
        echo_json(report.to_dict())
        return
    echo_fields(
        [
            ("classifier", f"{report.classifier_id}@v{report.version}"),
            ("examples", report.num_samples),
            ("accuracy", report.accuracy),
            ("macro F1", report.macro_f1),
            ("calibration error", report.expected_calibration_error),
        ]
    )
    click.echo()
    echo_table(
        ("label", "precision", "recall", "F1", "support", "threshold"),
        [(e.label, e.precision, e.recall, e.f1, e.support, e.threshold) for e in report.labels],
    )
