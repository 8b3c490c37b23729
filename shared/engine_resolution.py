"""Resolution of the scoring engine: `auto` becomes an engine, and an engine gets its NLI model.

Which models are held is told by the caller: the API knows all living workers, a worker itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from shared.errors import BrokerUnavailable, FieldError, ModelNotFound
from shared.model_catalogue import AutoEntry, Catalogue, ModelEntry
from shared.types import ClassifyRequest, Engine
from shared.validation import refuse

Content = Literal["texts", "documents", "images"]
"""What the items are, also those that are not read yet; "images" if one of them is an image."""

AUTO_LABELS = 32
"""`auto` is `hybrid` for questions of no more labels."""


class Holds(Protocol):
    """Tells which models are held."""

    def __call__(self, models: Sequence[ModelEntry], /, *, lately: bool = False) -> bool:
        """Whether one worker holds all of the models; with `lately`, also one that has restarted a
        moment ago.
        """


def with_engine(
    request: ClassifyRequest,
    *,
    catalogue: Catalogue,
    holds: Holds,
    content: Content,
) -> ClassifyRequest:
    """The request with the engine that answers it and the models of that engine; `auto` becomes
    two models, or the English one where no worker holds both or where another engine answers.

    An NLI model may be named as `model`; else the first of the catalogue that is held is taken.

    Args:
        request: with the engine that the caller names.
        catalogue: the models that there are.
        holds: whether one worker holds all of some models.
        content: what the items are.

    Raises:
        InvalidRequest: The engine cannot do what is asked, or the model is for another engine.
        ModelNotFound: No worker holds what the engine needs, and `engine_fallback` is not set; the
            message says what to install.
    """
    named = catalogue.find(request.model)
    engine: Engine = request.engine or "embedding"
    if engine == "embedding":
        if named.is_nli:
            refuse(
                "model",
                f"{named.name} is an NLI model, which compares texts and does not embed them: "
                'send "engine": "nli" or "hybrid" as well, or name another model',
            )
        return _with_language(request, catalogue, holds)
    embedder = catalogue.default if named.is_nli else named
    candidates = (named,) if named.is_nli else catalogue.nli_models()
    fault = _fault(request, engine, content)
    if engine == "auto":
        if fault is not None or any(len(q.labels) > AUTO_LABELS for q in request.questions):
            return _embedding(request, embedder)
        engine = "hybrid"
    elif fault is not None:
        refuse(*fault)
    soft = request.engine == "auto" or request.engine_fallback
    for nli in candidates:
        needed = (nli,) if engine == "nli" else (embedder, nli)
        if holds(needed, lately=not soft):
            return _with_models(request, engine, embedder, nli)
    if soft:
        return _embedding(request, embedder)
    raise _absent(engine, embedder, candidates)


def engines_of(model: ModelEntry, *, catalogue: Catalogue, holds: Holds) -> tuple[Engine, ...]:
    """The engines that requests with this `model` may name: its own one, and `hybrid` where one
    worker holds the model that is its counterpart, too.
    """
    own: Engine = "nli" if model.is_nli else "embedding"
    counterparts = (catalogue.default,) if model.is_nli else catalogue.nli_models()
    if any(holds((model, counterpart)) for counterpart in counterparts):
        return own, "hybrid"
    return (own,)


def holds_both(auto: AutoEntry, catalogue: Catalogue, holds: Holds) -> bool:
    """Whether one worker holds both models of `auto`; while Redis is away, it is expected to."""
    try:
        return holds([catalogue.find(name) for name in auto.models])
    except BrokerUnavailable:
        return True


def _with_language(request: ClassifyRequest, catalogue: Catalogue, holds: Holds) -> ClassifyRequest:
    """The request with both models of `auto`, if it asks for `auto` and a worker holds them."""
    auto = catalogue.auto
    if auto is None or not catalogue.is_auto(request.model):
        return request
    both = holds_both(auto, catalogue, holds)
    return request.model_copy(
        update={"model": auto.english, "multilingual_model": auto.multilingual if both else None}
    )


def _fault(request: ClassifyRequest, engine: Engine, content: Content) -> tuple[str, str] | None:
    """The field for which an engine with an NLI model cannot answer, and the reason."""
    if request.classifier is not None:
        return (
            "engine",
            f"{engine} needs labels: a classifier has learnt from embeddings. Leave engine out, or "
            "send labels instead of the classifier",
        )
    if content == "images" or (content == "documents" and engine == "auto"):
        return "engine", f"{engine} compares texts only: leave engine out for images"
    if content == "documents" and request.files.by in {"pages", "both"}:
        return "file_by", f"{engine} compares texts only: leave file_by out, or leave engine out"
    if content == "documents" and request.files.per_page:
        return (
            "per_page",
            f"{engine} judges a document as a whole: leave per_page out, or leave engine out",
        )
    if engine != "nli" and request.scores != "calibrated":
        return (
            "scores",
            "hybrid mixes calibrated probabilities and has no others: leave scores out, or send "
            '"engine": "embedding" or "nli"',
        )
    if engine == "nli" and request.needs_fit:
        field = "return_fit" if request.return_fit else "unknown_below"
        return (
            field,
            'needs embeddings, which nli does not make: send "engine": "hybrid" or "embedding"',
        )
    return None


def _embedding(request: ClassifyRequest, embedder: ModelEntry) -> ClassifyRequest:
    return request.model_copy(
        update={"engine": "embedding", "model": embedder.name, "nli_model": None}
    )


def _with_models(
    request: ClassifyRequest, engine: Engine, embedder: ModelEntry, nli: ModelEntry
) -> ClassifyRequest:
    if engine == "nli":
        return request.model_copy(update={"engine": engine, "model": nli.name, "nli_model": None})
    return request.model_copy(
        update={"engine": engine, "model": embedder.name, "nli_model": nli.name}
    )


def _absent(
    engine: Engine, embedder: ModelEntry, candidates: Sequence[ModelEntry]
) -> ModelNotFound:
    """The error where no worker holds an NLI model; it says what to install."""
    if not candidates:
        message = (
            f"{engine} needs an NLI model, and the catalogue has none: add one whose engine is "
            "cross_encoder"
        )
    else:
        beside = "" if engine == "nli" else f" beside {embedder.name}"
        first, *others = (entry.name for entry in candidates)
        more = f" (or {', '.join(others)})" if others else ""
        message = (
            f"{engine} needs an NLI model, and no running worker holds one{beside}. Get one with "
            f"'pigeonhole-server models pull {first}'{more} and restart a worker, or send "
            '"engine": "embedding"'
        )
    fields = (FieldError(field="engine", message=message),)
    return ModelNotFound(f"engine: {message}", fields=fields)


def content_of(request: ClassifyRequest) -> Content:
    """What the items of a request are."""
    shared = () if request.shared_media is None else (request.shared_media,)
    items = (*request.items, *shared)
    if any(item.images for item in items):
        return "images"
    return "documents" if any(item.file for item in items) else "texts"
