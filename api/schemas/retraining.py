"""Retraining in the API: its settings, and the bodies of its calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.classifier_record import PREVIOUS, Classifier
from shared.retraining import (
    AutoRollback,
    Columns,
    Gate,
    Holdout,
    Method,
    MetricName,
    Promote,
    RetrainingRecord,
    RetrainingSettings,
    RetrainingState,
    Rollback,
    Source,
    Statistic,
    TestName,
)
from shared.schema_base import Number, Schema, bounded
from shared.validation import refuse, translated

_MAX_SOURCES = 100
_MAX_WINDOW = 10_000  # items of feedback
_Body = TypeVar("_Body", bound=BaseModel)


class _Strict(Schema):
    """People write these bodies by hand: unknown fields are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class SourceBody(_Strict):
    """Where new examples come from: exactly one of the fields."""

    feedback: Literal[True] | None = Field(None, description="Feedback on the classifier.")
    url: str | None = Field(
        None,
        description="`s3://bucket/key`, or a prefix that ends in `/` for all objects below it. The "
        "operator allows the locations. An object is read once, and again if it changes.",
    )
    file_id: str | None = Field(None, description="An uploaded file; it is read once.")


class ColumnsBody(_Strict):
    """Columns of the rows of files and objects."""

    text: str = Field("text", description="Column or key with the text.")
    label: str = Field("label", description="Column or key with the label.")
    id: str | None = Field(None, description="Column or key with an id, for the report of rows.")


class HoldoutBody(_Strict):
    """The examples that both versions are judged on and never learn: exactly one of the fields."""

    share: Annotated[Number, Field(ge=0.01, le=0.5)] | None = Field(
        None,
        description="Share of all new examples, by the hash of their content; default 0.2.",
    )
    file_id: str | None = Field(None, description="Instead of a share: an uploaded file.")
    url: str | None = Field(None, description="Instead of a share: an `s3://` address.")


class GateBody(_Strict):
    """When a challenger may replace the champion."""

    metric: MetricName = Field(
        "macro_f1", description="`f1` is that of `label`; `cost` is the mean of `costs`."
    )
    label: str | None = Field(None, description="The label of the metric `f1`.")
    costs: Annotated[dict[str, dict[str, Number]], BeforeValidator(bounded)] | None = Field(
        None,
        description="Of the metric `cost`: cost by true label and predicted label; other wrong "
        "predictions cost 1.",
    )
    minimum_gain: Annotated[Number, Field(ge=-1.0)] = Field(
        0.0, description="Least gain of the metric; a negative one allows a small loss."
    )
    confidence: Annotated[Number, Field(ge=0.5, le=0.9999)] = Field(
        0.95, description="Of the test and its interval."
    )
    test: TestName = Field(
        "not_worse",
        description="`not_worse`: the test does not show that the challenger is worse. `better`: "
        "it shows that the challenger is better.",
    )
    statistic: Statistic = Field(
        "bootstrap", description="Paired bootstrap of 1,000 draws, or McNemar's exact test."
    )
    maximum_label_drop: Annotated[Number, Field(ge=0.0, le=1.0)] | None = Field(
        0.05,
        description="Greatest loss of F1 of a label with at least 10 examples in the holdout; "
        "null: none.",
    )
    maximum_ece: Annotated[Number, Field(ge=0.0, le=1.0)] | None = Field(
        0.1,
        description="Greatest expected calibration error, unless the champion's is greater; null: "
        "none.",
    )


class AutoRollbackBody(_Strict):
    """When feedback after a promotion moves the alias back: feedback with `predicted` and `version`
    of right and wrong predictions, compared with that on the version before.
    """

    metric: Literal["accuracy"] = "accuracy"
    drop: Annotated[Number, Field(gt=0.0, le=1.0)] = Field(
        0.05, description="A greater fall of the metric moves the alias back."
    )
    window: Annotated[int, Field(ge=20, le=_MAX_WINDOW)] = Field(
        200, description="Items of feedback on the new version that are counted, the first ones."
    )


class RetrainingBody(_Strict):
    """When and how a classifier is retrained. Absent fields have their defaults."""

    enabled: bool = Field(True, description="Whether the schedule starts runs.")
    schedule: str | None = Field(
        None, description="Five fields of cron, such as `0 2 * * *`; null: runs start by a call."
    )
    timezone: str = Field("UTC", description="Time zone of the schedule, such as `Europe/Berlin`.")
    on_drift: bool = Field(False, description="Start a run when drift is detected.")
    sources: list[SourceBody] = Field(
        default=[SourceBody(feedback=True)], description="Where new examples come from."
    )
    columns: ColumnsBody = ColumnsBody()
    method: Method = Field(
        "update",
        description="`update`: the champion learns the new examples. `rebuild`: all kept examples "
        "and the new ones are learnt anew. `both`: the better one is the challenger.",
    )
    model: str | None = Field(None, description="Model of `rebuild`; null: the champion's.")
    num_iters: int = Field(10, description="Iterations over each example.")
    holdout: HoldoutBody = HoldoutBody()
    minimum_new_examples: Annotated[int, Field(ge=1, le=100_000)] = Field(
        20, description="With fewer new examples a run is skipped, and they wait for the next one."
    )
    gate: GateBody = GateBody()
    promote: Promote = Field(
        "if_better",
        description="`if_better`: where the gate lets it pass. `ask`: then a person decides. "
        "`always`: in any case.",
    )
    alias: str = Field("champion", description="The alias of the live version.")
    keep_runs: Annotated[int, Field(ge=1, le=1000)] = Field(50, description="Runs that are kept.")
    auto_rollback: AutoRollbackBody | None = Field(
        None, description="Move the alias back by feedback; null: by a call only."
    )


class RunBody(_Strict):
    """A run that is started now."""

    dry_run: bool = Field(
        False, description="Train and judge, but change nothing: the decision says what would be."
    )


class RetrainingObject(RetrainingBody):
    """The retraining of a classifier."""

    model_config = ConfigDict(strict=False)

    object: Literal["retraining"]
    classifier_id: str
    next_run_at: datetime | None = Field(description="The next tick of the schedule.")
    active_run: str | None = Field(description="The run that is accepted and has not ended.")
    last_rollback: Rollback | None = Field(description="The latest time the alias was moved back.")
    created_at: datetime
    updated_at: datetime


class RollbackObject(BaseModel):
    """Where the alias points after a rollback."""

    object: Literal["retraining.rollback"]
    classifier_id: str
    alias: str
    version: int
    rolled_back: int = Field(description="The version that was live before; now `previous`.")


def parse_settings(body: object) -> RetrainingSettings:
    """Parse the settings; what they name is not looked up here.

    Raises:
        InvalidRequest: A field is wrong, or two fields conflict.
    """
    parsed = _read(RetrainingBody, body)
    sources = tuple(_source(each, f"sources[{i}]") for i, each in enumerate(parsed.sources))
    if len(sources) > _MAX_SOURCES:
        refuse("sources", f"at most {_MAX_SOURCES} sources are allowed")
    if parsed.model is not None and parsed.method == "update":
        refuse("model", 'is of the method "rebuild"; leave it out, or change the method')
    gate = parsed.gate
    if (gate.metric == "f1") != (gate.label is not None):
        refuse("gate.label", 'is of the metric "f1", which needs it')
    if (gate.metric == "cost") != (gate.costs is not None):
        refuse("gate.costs", 'is of the metric "cost", which needs it')
    return RetrainingSettings(
        **parsed.model_dump(exclude={"sources", "columns", "holdout", "gate", "auto_rollback"}),
        sources=sources,
        columns=Columns(**parsed.columns.model_dump()),
        holdout=_holdout(parsed.holdout),
        gate=Gate(**gate.model_dump(exclude={"costs"}), costs=gate.costs or {}),
        auto_rollback=parsed.auto_rollback and AutoRollback(**parsed.auto_rollback.model_dump()),
    )


def merged(before: RetrainingSettings, body: object) -> RetrainingSettings:
    """The settings after a change; absent fields do not change, and objects are merged.

    Raises:
        InvalidRequest: A field is wrong, or nothing is to change.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    if not body:
        refuse("body", "changes nothing: send at least one field")
    now = as_body(before)
    for field, value in body.items():
        old = now.get(field)
        both = isinstance(value, dict) and isinstance(old, dict) and field != "holdout"
        now[field] = {**old, **value} if both else value  # type: ignore[dict-item]
    return parse_settings(now)


def as_body(settings: RetrainingSettings) -> dict[str, Any]:
    """The settings as the body that gives them."""
    fields = settings.model_dump(mode="json")
    fields["sources"] = [parse_back(source) for source in settings.sources]
    fields["holdout"] = {k: v for k, v in fields["holdout"].items() if v}
    if settings.gate.metric != "cost":
        fields["gate"].pop("costs")
    if fields["auto_rollback"] is not None:  # older versions allowed more
        fields["auto_rollback"]["window"] = min(fields["auto_rollback"]["window"], _MAX_WINDOW)
    return fields


def parse_back(source: Source) -> dict[str, Any]:
    """A source as it was sent."""
    return {field: value for field, value in source.model_dump().items() if value}


def parse_source(body: object) -> Source:
    """Parse one source.

    Raises:
        InvalidRequest: Not exactly one of its fields is given.
    """
    return _source(_read(SourceBody, body), "")


def parse_run(body: object) -> RunBody:
    """Parse the body of a call that starts a run.

    Raises:
        InvalidRequest: A field is wrong.
    """
    return _read(RunBody, body)


def render_retraining(record: RetrainingRecord, state: RetrainingState) -> dict[str, Any]:
    """The retraining of a classifier."""
    return {
        "object": "retraining",
        "classifier_id": record.classifier_id,
        **as_body(record.settings),
        "next_run_at": record.next_tick,
        "active_run": state.active,
        "last_rollback": state.last_rollback and state.last_rollback.model_dump(mode="json"),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def render_rollback(classifier: Classifier, alias: str) -> dict[str, Any]:
    """A classifier whose alias was moved back."""
    return {
        "object": "retraining.rollback",
        "classifier_id": classifier.id,
        "alias": alias,
        "version": classifier.aliases[alias],
        "rolled_back": classifier.aliases[PREVIOUS],
    }


def _source(body: SourceBody, place: str) -> Source:
    given = [name for name in ("feedback", "url", "file_id") if getattr(body, name) is not None]
    if len(given) != 1:
        refuse(place or "body", "must have exactly one of `feedback`, `url` and `file_id`")
    return Source(feedback=bool(body.feedback), url=body.url or "", file_id=body.file_id or "")


def _holdout(body: HoldoutBody) -> Holdout:
    given = [name for name in ("share", "file_id", "url") if getattr(body, name) is not None]
    if len(given) > 1:
        refuse("holdout", "must have exactly one of `share`, `file_id` and `url`")
    if not given:
        return Holdout()
    return Holdout(share=body.share, file_id=body.file_id or "", url=body.url or "")


def _read(shape: type[_Body], body: object) -> _Body:
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        return shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
