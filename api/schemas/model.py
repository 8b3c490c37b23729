"""The list of models, in the shape that clients of the OpenAI API read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from shared.types import Engine


class ModelObject(BaseModel):
    """A model of the catalogue."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time, in seconds, at which this catalogue was read.")
    owned_by: str = Field(description="Who made the model.")
    aliases: tuple[str, ...] = Field(description="Other names that a request may use.")
    device: Literal["cpu", "gpu-preferred", "gpu-only"]
    languages: tuple[str, ...] = Field(description="ISO 639 codes; empty: many.")
    kind: Literal["embedding", "nli"] = Field(
        description="`embedding` compares vectors of texts and labels; `nli` reads each text "
        "together with each label."
    )
    engines: tuple[Engine, ...] = Field(
        description="The values of `engine` for requests with this `model`: its own one, and "
        "`hybrid` while a running worker holds it together with a model of the other kind."
    )
    available: bool = Field(description="Whether a running worker holds the model.")
    state: Literal["loaded", "cold", "loading", "failed"] | None = Field(
        description="`cold`: no worker has it in memory, since it was not used for "
        "`PIGEONHOLE_MODEL_IDLE_S`; the next request loads it. `failed`: it could not be loaded "
        "again; requests try once in 10 s. Null if no worker holds it."
    )
    last_used: int | None = Field(
        description="Unix time, in seconds, at which a running worker last used it for a request; "
        "null if it did not."
    )
    texts_served_by: str | None = Field(
        description="The model for texts that are sent under an alias of this image model while no "
        "worker holds it; null if there is none."
    )
    models: tuple[str, ...] = Field(
        default=(), description="Of `auto`: the models that it chooses from, by the language."
    )
    unsupported_languages: tuple[str, ...] = Field(
        default=(),
        description="Of `auto`: languages that none of its models knows. Texts in them are "
        "answered with the warning `language_not_supported`.",
    )


class ModelList(BaseModel):
    """The models on offer."""

    object: Literal["list"] = "list"
    data: list[ModelObject]
