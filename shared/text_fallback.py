"""Texts under an image model that is not held: the default model answers them instead.

Which models are held is told by the caller: the API knows all living workers, a worker itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.bad_items import each_item
from shared.errors import ModelNotFound
from shared.model_catalogue import Catalogue, ModelEntry
from shared.types import ClassifyRequest, Item
from shared.validation import refuse


@dataclass(frozen=True, kw_only=True)
class TextFallback:
    """The rule of a process.

    Attributes:
        catalogue: the models that there are.
        allowed: whether the operator allows it (`PIGEONHOLE_TEXT_FALLBACK`).
        offered: whether a model is held, or was a moment ago.
        absence: why requests to a model fail for good; None if one may succeed.
    """

    catalogue: Catalogue
    allowed: bool
    offered: Callable[[ModelEntry], bool]
    absence: Callable[[ModelEntry], str | None] = lambda _: None

    def model_of_texts(self, name: str) -> str | None:
        """The default model, where texts are sent under an alias of an image model that is not
        held; else None.

        Raises:
            ModelNotFound: There is no model of the name.
        """
        entry = self.catalogue.find(name)
        if not self.allowed or not entry.reads_images or name == entry.name:
            return None
        return None if self.offered(entry) else self.catalogue.default_name

    def for_texts(self, request: ClassifyRequest) -> ClassifyRequest:
        """The request by the model that answers its texts.

        Raises:
            ModelNotFound: There is no model of its name.
        """
        model = self.model_of_texts(request.model)
        return request if model is None else request.model_copy(update={"model": model})

    def images_aside(self, request: ClassifyRequest, *, named: str | None) -> ClassifyRequest:
        """The request without its images, by the default model, where no model that reads images is
        held: the texts are answered all the same.

        A model that the request names by its own name is not replaced.
        """
        entry = self.catalogue.find(request.model)
        by_name = named == entry.name or (named is not None and not self.allowed)
        if by_name or not entry.reads_images:  # else it was chosen for images, also refused ones
            return request
        message = self.absence(entry)
        if message is None:
            return request

        def readable(index: int, item: Item) -> Item:
            if item.images:
                refuse(f"input[{index}].image", message, ModelNotFound)
            return item

        without = each_item(request, readable)
        return without.model_copy(update={"model": self.catalogue.default_name})
