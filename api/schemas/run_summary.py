"""What a run has decided, in sentences for a person who has never heard of F1.

Decides: the words. Does not decide: anything about the run. The reasons of the gate, with its
figures, are in the decision of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.retraining import (
    MIN_SUPPORT,
    PHASES,
    LabelAgreement,
    LabelMetrics,
    Run,
    SignificanceTest,
)

METRICS = {
    "macro_f1": "the mean F1 of the labels",
    "micro_f1": "the F1 over all examples",
    "accuracy": "the share of correct predictions",
    "f1": "the F1 of one label",
    "cost": "the mean cost of a prediction",
}
"""The metrics of the gate, as a sentence names them."""
_NAMED = 3  # labels that a sentence names
_NOTABLE = 0.05  # of F1: smaller changes of a label are not named
_DRY = {
    "promote": "Dry run: the new version would be promoted.",
    "reject": "Dry run: the new version would not be promoted.",
    "ask": "Dry run: the new version would wait for a decision.",
    "skip": "Dry run: there is too little to learn.",
}


def headline(run: Run) -> str:
    """The decision in one sentence.

    >>> from datetime import UTC, datetime
    >>> run = Run(id="run_1", account="a", classifier_id="c", job_id="job_1", status="rejected",
    ...           started_at=datetime(2026, 1, 1, tzinfo=UTC), champion=2, challenger=3)
    >>> headline(run)
    'Version 3 was not promoted.'
    """
    if run.dry_run and run.decision is not None and run.status == "skipped":
        return _DRY[run.decision.outcome]
    new = "The new version" if run.challenger is None else f"Version {run.challenger}"
    match run.status:
        case "promoted" if run.rolled_back_at is not None:
            return f"{new} was promoted, and rolled back later."
        case "promoted":
            return f"{new} was promoted."
        case "rejected":
            return f"{new} was not promoted."
        case "waiting":
            return f"{new} waits for a decision."
        case "skipped":
            return "No new version was trained."
        case "failed":
            return "The run failed, and nothing has changed."
        case "cancelled":
            return "The run was cancelled, and nothing has changed."
    return f"The run is under way: {run.status}."


def summary(run: Run, *, name: str, alias: str) -> list[str]:
    """Why, in sentences: what is live, how both versions compare, what was read, what comes next.

    Args:
        run: The run.
        name: The name of the classifier, or its id.
        alias: The alias of the live version.
    """
    return [
        *_consequence(run, f"{name}@{alias}"),
        *_evidence(run),
        *_labels(run),
        *_rows(run),
        *_next(run),
    ]


def _consequence(run: Run, live: str) -> Iterator[str]:
    if run.error is not None:
        yield f"{run.error.rstrip('.')}."
    if run.status == "promoted" and run.rolled_back_at is None:
        yield (
            f"Callers of {live} got version {run.challenger} from then on. Version {run.champion} "
            "is kept, so that a rollback needs one call."
        )
    elif run.status == "promoted":
        why = f": {run.rollback_reason.rstrip('.')}" if run.rollback_reason else ""
        yield f"Callers of {live} get version {run.champion} again{why}."
    elif run.champion is not None and run.status not in PHASES:
        until = " until the decision" if run.status == "waiting" else ""
        yield f"Callers of {live} get version {run.champion}{until}, as before the run."
    if run.status == "skipped" and run.metrics is None and run.decision is not None:
        yield from (f"{reason.rstrip('.')}." for reason in run.decision.reasons)


def _evidence(run: Run) -> Iterator[str]:
    if run.metrics is None:
        return
    total = sum(each.support for each in run.metrics.labels)
    before, after = run.metrics.champion.accuracy, run.metrics.challenger.accuracy
    new = "the new version" if run.challenger is None else f"version {run.challenger}"
    yield (
        f"Of {total:,} examples that neither version has learnt, version {run.champion} labels "
        f"{_share(before, total)} correctly, and {new} {_share(after, total)}."
    )
    if run.test is not None:
        if run.status == "rejected":
            yield from _demand(run.test)
        yield _chance(run.test)


def _demand(test: SignificanceTest) -> Iterator[str]:
    """What the gate asks for, where the challenger does not reach it."""
    figure = METRICS[test.metric]
    better, worse = ("fall", "rise") if test.metric == "cost" else ("rise", "fall")
    least = f"{abs(test.minimum_gain):.3f}"
    if test.gain < test.minimum_gain:
        if test.minimum_gain > 0:
            yield f"The gate asks that {figure} {better}s by at least {least}, and it does not."
        elif test.minimum_gain < 0:
            yield f"The gate allows {figure} to {worse} by {least}, and it {worse}s by more."
        else:
            yield f"The gate asks that {figure} does not {worse}, and it {worse}s."
    elif not test.passed and test.hypothesis == "better":
        yield f"The gate asks that {figure} {better}s by more than chance explains."


def _chance(test: SignificanceTest) -> str:
    """What the test says about chance; the gain of a cost is what it saves."""
    verb = "saves" if test.metric == "cost" else "changes"
    figure = METRICS["accuracy" if test.statistic == "mcnemar" else test.metric]
    sentence = f"The new version {verb} {figure} by {test.gain:+.3f}"
    if test.interval is None:
        sure = test.p_value <= 1.0 - test.confidence
        sentence += f" (p = {test.p_value:.3f})"
    else:
        low, high = test.interval
        sure = low > 0.0 or high < 0.0
        sentence += f"; with {test.confidence:.0%} confidence by {low:+.3f} to {high:+.3f}"
    kind = "gain" if test.gain > 0 else "loss"
    return f"{sentence}. " + (
        f"Chance does not explain the {kind}." if sure else "This may be chance."
    )


def _labels(run: Run) -> Iterator[str]:
    labels = run.metrics.labels if run.metrics else ()
    changes = sorted(
        (each for each in labels if each.support >= MIN_SUPPORT),
        key=lambda each: each.challenger_f1 - each.champion_f1,
    )
    lost = [each for each in changes if each.champion_f1 - each.challenger_f1 > _NOTABLE]
    won = [each for each in changes[::-1] if each.challenger_f1 - each.champion_f1 > _NOTABLE]
    if lost:
        yield f"The new version is worse at {_named(lost)}."
    if won:
        yield f"The new version is better at {_named(won)}."
    if run.new_labels:
        yield f"New labels: {_list(run.new_labels)}."
    if run.missing_labels:
        yield f"No new examples came for {_list(run.missing_labels)}, which is unusual."
    if run.label_agreement is not None and run.label_agreement.unusual:
        yield from _disagreement(run.label_agreement, run.champion)


def _disagreement(found: LabelAgreement, champion: int | None) -> Iterator[str]:
    usual = round(found.usual * found.examples)
    yield (
        f"Of {found.examples:,} new examples, {found.agreed:,} have the label that version "
        f"{champion} predicts; by its accuracy on the holdout, {usual:,} would. Either labels are "
        "wrong, or they are corrections of its errors, or texts of a new kind."
    )


def _rows(run: Run) -> Iterator[str]:
    counts = run.counts
    if not counts.read and not counts.rejected_before:
        return
    parts = [f"{counts.new:,} to learn", f"{counts.held_out:,} held out for the comparison"]
    parts += [f"{counts.duplicate:,} known before"] if counts.duplicate else []
    parts += [f"{counts.conflicting:,} with conflicting labels"] if counts.conflicting else []
    parts += [f"{counts.bad:,} bad"] if counts.bad else []
    yield f"The run read {counts.read:,} rows: {', '.join(parts)}."
    if counts.rejected_before:
        use = {
            "with": "The new version has learnt them as well",
            "without": "The new version is better without them",
            "none": "They were not tried",
        }[run.rejected_rows]
        yield f"{counts.rejected_before:,} rows of rejected runs were left. {use}."


def _next(run: Run) -> Iterator[str]:
    if run.dry_run:
        return
    if run.status == "rejected":
        yield (
            "The rows are not lost: the next run tries them again, with its own rows and without "
            "them. A row that is rejected three times is set aside."
        )
    elif run.status in {"failed", "cancelled", "skipped"}:
        yield "The next run reads the same rows again."


def _share(share: float, total: int) -> str:
    return f"{round(share * total):,} ({share:.0%})"


def _named(labels: Sequence[LabelMetrics]) -> str:
    return _list(
        [f"{each.label} (F1 {each.champion_f1:.2f} → {each.challenger_f1:.2f})" for each in labels]
    )


def _list(words: Sequence[str]) -> str:
    """Some of the words.

    >>> _list(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    if len(words) > _NAMED:
        return f"{', '.join(words[:_NAMED])} and {len(words) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
