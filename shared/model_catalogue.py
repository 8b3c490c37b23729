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


class Catalogue:
    """Models by name and alias."""

    def __init__(self, entries: Iterable[ModelEntry], *, default: str) -> None:
        self.entries = {entry.name: entry for entry in entries}
        first_wins = reversed(self.entries.values())
        self._names = {alias: entry.name for entry in first_wins for alias in entry.aliases}
        self._names |= {name: name for name in self.entries}
        if default not in self._names:
            raise ConfigurationError(f"the default model {default!r} is not in the catalogue")
        self.default = self.entries[self._names[default]]

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
    entries = _parse(
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
        own = _parse(extra, text)
        entries = own | {name: entry for name, entry in entries.items() if name not in own}
    catalogue = Catalogue(entries.values(), default=default)
    if catalogue.default.is_nli:
        raise ConfigurationError(
            f"the default model {default!r} is an NLI model, which embeds nothing; "
            "requests select it with the option engine"
        )
    return catalogue


def _parse(source: str, text: str) -> dict[str, ModelEntry]:
    try:
        models = tomllib.loads(text).get("model", [])
        entries = [ModelEntry.model_validate(model) for model in models]
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
    return {entry.name: entry for entry in entries}
