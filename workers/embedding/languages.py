"""The model of each text under `auto`: English texts are for one model, all others for the other.

A text goes whole to one model. What is not a text is for the English one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from shared.types import Item
from workers.core import language
from workers.embedding.loaded_model import LoadedModel


@dataclass(frozen=True, kw_only=True)
class LanguagePair:
    """The two models of `auto`."""

    english: LoadedModel
    multilingual: LoadedModel

    def of_items(self, items: Sequence[Item], *, skipped: Collection[int] = ()) -> Languages:
        """The model of each item; the `skipped` ones, by index, are for neither."""
        samples = {
            index: item.text[: language.SAMPLE_CHARS]
            for index, item in enumerate(items)
            if index not in skipped
        }
        tokenised = self.english.tokenizer.tokenise([*samples.values()])
        pieces = dict(zip(samples, map(len, tokenised), strict=True))
        others = [
            index
            for index, sample in samples.items()
            if not items[index].media and not language.is_english(sample, pieces[index])
        ]
        by_both = self.multilingual.tokenizer.tokenise([samples[index] for index in others])
        return Languages(
            pair=self,
            items=len(items),
            english=tuple(sorted(samples.keys() - others)),
            others=tuple(others),
            unsupported=tuple(
                index
                for index, ids in zip(others, by_both, strict=True)
                if not language.is_known(samples[index], pieces[index], len(ids))
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Languages:
    """What a pair of models makes of items; `unsupported` are in languages that neither knows."""

    pair: LanguagePair
    items: int
    english: tuple[int, ...]  # indexes of those for the English model
    others: tuple[int, ...]  # indexes of those for the multilingual model
    unsupported: tuple[int, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The name of the model of each item; empty for a skipped one."""
        names = dict.fromkeys(self.english, self.pair.english.entry.name)
        names |= dict.fromkeys(self.others, self.pair.multilingual.entry.name)
        return tuple(names.get(index, "") for index in range(self.items))

    @property
    def most(self) -> LoadedModel:
        """The model of most items."""
        is_english = len(self.english) > len(self.others)
        return self.pair.english if is_english else self.pair.multilingual
