"""The model catalogue, read from TOML: names, aliases, devices and prompts of each model."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from shared.errors import ConfigurationError, FieldError, InvalidRequest, ModelNotFound
from shared.types import Value

AUTO = "auto"
"""The name of the choice of a model by the language of each text."""


class _CatalogueTable(Value):
    """A table of a catalogue file; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelFit(_CatalogueTable):
    """What makes the log odds of a fit to labels: factors of five numbers, in the order of
    `workers.core.fit.Described.fit`.
    """

    nearest: float
    null: float
    generic: float
    log_labels: float
    offset: float


class ExampleFit(_CatalogueTable):
    """The same for a fit to a classifier's examples: `workers.core.fit.Learnt.fit`."""

    nearest: float
    own: float
    other: float
    log_labels: float
    offset: float


_RENAMED_KEYS = {"picture_templates": "image_templates"}


def _usual_temperature(entry: dict[str, object]) -> float:
    """Of cosines, or of the logits of a cross-encoder, which was trained with a softmax of them."""
    return 1.0 if entry.get("engine") == "cross_encoder" else 0.06


class ModelEntry(_CatalogueTable):
    """One model of the catalogue."""

    name: str = Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/+-]*$")  # part of queues
    aliases: tuple[str, ...] = ()
    engine: Literal[
        "sentence", "sentence_clip", "open_clip", "cross_encoder", "universal_sentence", "hashing"
    ]
    checkpoint: str = ""
    device: Literal["cpu", "gpu-preferred", "gpu-only"] = "cpu"
    owner: str = "pigeonhole"
    languages: tuple[str, ...] = ()
    prefix: str = Field(default="", max_length=64)
    templates: tuple[str, ...] = ("{label}",)
    image_templates: tuple[str, ...] = ("a photo of {label}.", "a picture of {label}.", "{label}")
    hypothesis: str = Field(default="This example is about {label}.", pattern=r"\{label\}")
    temperature: float = Field(default_factory=_usual_temperature, gt=0)
    by_spread: bool = True
    null_bias: float = 0.0
    length_exponent: float = Field(default=0.0, ge=0, le=1)
    related: float | None = Field(default=None, ge=-1, le=1)
    nli_weight: float = Field(default=0.5, ge=0, le=1)
    label_fit: LabelFit | None = None
    example_fit: ExampleFit | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """The kinds of worker that may hold the model, by queue name, the faster first."""
        return {"cpu": ("cpu",), "gpu-preferred": ("gpu", "cpu"), "gpu-only": ("gpu",)}[self.device]

    @property
    def reads_images(self) -> bool:
        """Whether the model embeds images and texts into the same space."""
        return self.engine in {"sentence_clip", "open_clip"}

    @property
    def is_nli(self) -> bool:
        """Whether the model compares pairs of texts (NLI), and embeds nothing."""
        return self.engine == "cross_encoder"


class AutoEntry(_CatalogueTable):
    """The pair of models between which `auto` chooses by the language of each text."""

    english: str
    multilingual: str
    aliases: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, str]:
        """Their names, the English one first."""
        return self.english, self.multilingual


class Catalogue:
    """Models by name and alias. `auto` is a name of its English model, which answers where no
    worker holds both.
    """

    def __init__(
        self, entries: Iterable[ModelEntry], *, default: str, auto: AutoEntry | None = None
    ) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.auto = auto
        first_wins = reversed(self.entries.values())
        self._names = {alias: entry.name for entry in first_wins for alias in entry.aliases}
        self._names |= {name: name for name in self.entries}
        self._auto_names: frozenset[str] = frozenset()
        if auto is not None:
            for name in auto.models:
                if name not in self.entries:
                    raise ConfigurationError(f"auto: the model {name!r} is not in the catalogue")
            self._auto_names = frozenset({AUTO, *auto.aliases} - self._names.keys())
            self._names |= dict.fromkeys(self._auto_names, auto.english)
        if default not in self._names:
            raise ConfigurationError(f"the default model {default!r} is not in the catalogue")
        self.default = self.entries[self._names[default]]
        self.default_name = AUTO if self.is_auto(default) else self.default.name
        self.default_multilingual = auto.multilingual if auto and self.is_auto(default) else None

    def is_auto(self, name: str) -> bool:
        """Whether a request with this model leaves the choice to the service."""
        return name in self._auto_names

    def stands_for(self, name: str, model: str) -> bool:
        """Whether a request with the model `name` may be answered by `model`.

        Raises:
            ModelNotFound: The catalogue has no model `name`.
        """
        if self.auto is not None and self.is_auto(name):
            return model in self.auto.models
        return self.find(name).name == model

    def nli_models(self) -> tuple[ModelEntry, ...]:
        """The models that compare pairs, the preferred one first."""
        return tuple(entry for entry in self.entries.values() if entry.is_nli)

    def for_images(self) -> ModelEntry:
        """The default model for images: the first that accepts them, else the default model."""
        able = [entry for entry in self.entries.values() if entry.reads_images]
        return self.default if self.default.reads_images or not able else able[0]

    def find(self, name: str) -> ModelEntry:
        """The model of a name or alias.

        Raises:
            ModelNotFound: The catalogue has none; the message lists the known names.
        """
        known = self._names.get(name)
        if known is None:
            near = difflib.get_close_matches(name, self._names, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            message = f"no such model{hint} Known models: {', '.join(sorted(self._names))}"
            raise ModelNotFound(
                f"model: {message}", fields=(FieldError(field="model", message=message),)
            )
        return self.entries[known]

    def find_embedder(self, name: str) -> ModelEntry:
        """As `find`, for work that needs vectors.

        Raises:
            ModelNotFound: The catalogue has no such model.
            InvalidRequest: It is an NLI model.
        """
        entry = self.find(name)
        if entry.is_nli:
            message = (
                f"{entry.name} is an NLI model, which compares texts and does not embed them; "
                f"name a model that does, such as {self.default.name}"
            )
            raise InvalidRequest(
                f"model: {message}", fields=(FieldError(field="model", message=message),)
            )
        return entry


def load(extra: str = "", *, default: str) -> Catalogue:
    """The entries of the file `extra`, then those of the built-in catalogue with other names.

    Raises:
        ConfigurationError: The file cannot be read, or an entry is wrong.
    """
    entries, auto = _parse(
        "the built-in catalogue",
        resources.files("shared").joinpath("model_catalogue.toml").read_text("utf-8"),
    )
    if extra:
        try:
            text = Path(extra).read_text("utf-8")
        except OSError as exc:
            raise ConfigurationError(
                f"the catalogue {extra} cannot be read: {exc.strerror}"
            ) from exc
        own, own_auto = _parse(extra, text)
        auto = own_auto or auto
        entries = own | {name: entry for name, entry in entries.items() if name not in own}
    catalogue = Catalogue(entries.values(), default=default, auto=auto)
    if catalogue.default.is_nli:
        raise ConfigurationError(
            f"the default model {default!r} is an NLI model, which embeds nothing; "
            "requests select it with the option engine"
        )
    return catalogue


def _parse(source: str, text: str) -> tuple[dict[str, ModelEntry], AutoEntry | None]:
    try:
        tables = tomllib.loads(text)
        entries = [ModelEntry.model_validate(model) for model in tables.get("model", [])]
        auto = AutoEntry.model_validate(tables["auto"]) if "auto" in tables else None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{source} is not TOML: {exc}") from None
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"]
        if first["type"] == "extra_forbidden":
            new_name = _RENAMED_KEYS.get(place)
            problem = (
                f"has a new name: write {new_name}"
                if new_name
                else f"is not a key of a model; the keys are {', '.join(ModelEntry.model_fields)}"
            )
        raise ConfigurationError(f"{source}: {place or 'model'}: {problem}") from None
    return {entry.name: entry for entry in entries}, auto
