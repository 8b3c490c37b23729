"""NLI models from sentence-transformers checkpoints (`CrossEncoder`), on the fastest engine that
agrees.

Decides which of a checkpoint's classes are entailment and its contrary, by the names in its own
configuration, and which engine and precision run it. A candidate is taken only if it gives the
probabilities of `CrossEncoder.predict` in float32 for probe pairs, to 0.01.

Importing this module imports torch, which takes seconds.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from shared.errors import ConfigurationError, Unavailable
from workers.cpu_quota import usable_cores
from workers.models.gpu_memory import freeing
from workers.models.inference_engines import (
    TEXT_INPUTS,
    Engine,
    Forward,
    Precision,
    candidates,
    fastest,
)
from workers.models.pair_tokenizer import PairTokenizer
from workers.models.port import PairEncoder, Rows, TextPair
from workers.models.sentence_encoder import quiet, revision_of

AGREEMENT = 0.01
"""How far a probability of entailment may differ from that of float32."""
MAX_TOKENS = 512
"""Of a pair with its special tokens: models that take more were trained with pairs of this size."""
_CONTRARIES = ("contradiction", "not_entailment", "non_entailment")
_TYPES = "token_type_ids"
PROBES = (
    ("The parcel never arrived.", "This example is about delivery."),
    ("", "This example is about nothing."),
    ("I was charged twice for one order. " * 8, "The customer praises the cook."),
    ("The central bank left its rate unchanged on Thursday. " * 24, "This text is about banks."),
)


def load(
    path_or_name: str,
    *,
    name: str,
    device: str = "cpu",
    precision: Literal["auto"] | Precision = "auto",
    engine: Literal["auto"] | Engine = "auto",
    revision: str | None = None,
    allow_download: bool = False,
    threads: int | None = None,
) -> PairEncoder:
    """Load a checkpoint, choose its engine, check it, and run it once: warm when it returns.

    The arguments are those of `workers.models.sentence_encoder.load`.

    Raises:
        ConfigurationError: The checkpoint cannot be loaded, its classes are not those of NLI, or
            no engine agrees.
    """
    with quiet():
        try:
            model = CrossEncoder(
                path_or_name, device=device, revision=revision, local_files_only=not allow_download
            )
        except (OSError, ValueError, ImportError, RuntimeError) as exc:
            raise ConfigurationError(f"The model {path_or_name} cannot be loaded: {exc}") from exc
        classifier = model.float().eval()[0].model
        classes = nli_classes(classifier.config.id2label, name=name)
        tokeniser = PairTokenizer(model.tokenizer)
        longest = min(int(model.max_seq_length or MAX_TOKENS), MAX_TOKENS)
        inputs = [*TEXT_INPUTS]
        accepted = inspect.signature(classifier.forward).parameters
        if _TYPES in accepted and _TYPES in model.tokenizer.model_input_names:
            inputs.append(_TYPES)
        encoder = _CrossEncoder(
            name=name,
            revision=revision_of(path_or_name, revision),
            window=longest - tokeniser.specials,
            tokeniser=tokeniser,
            inputs=len(inputs),
        )
        probes, reference = _reference(model, encoder, classes)

        def agrees(forward: Forward, _: Precision) -> tuple[bool, str]:
            encoder.forward = forward
            return _agreement(encoder, probes, reference)

        encoder.forward, _ = fastest(
            name,
            _Classifier(classifier, classes, inputs),
            candidates(device, precision, engine),
            device=device,
            threads=threads or usable_cores(),
            agrees=agrees,
            inputs=inputs,
        )
    del model, classifier  # OpenVINO has its own copy of the weights
    gc.collect()
    return encoder


def nli_classes(labels: Mapping[int, str], *, name: str) -> tuple[int, int]:
    """The places of entailment and of its contrary among a checkpoint's classes.

    The contrary is contradiction; of two classes, the other one. Checkpoints order them in every
    way, so that only their names tell.

    Args:
        labels: `id2label` of the checkpoint's config.json.
        name: the model's name in the catalogue.

    Raises:
        ConfigurationError: The classes are not named so.

    >>> nli_classes({0: "contradiction", 1: "Entailment", 2: "neutral"}, name="m")
    (1, 0)
    >>> nli_classes({0: "entailment", 1: "not_entailment"}, name="m")
    (0, 1)
    """
    places = {_plain(label): int(place) for place, label in labels.items()}
    contrary = next((places[each] for each in _CONTRARIES if each in places), None)
    if "entailment" not in places or contrary is None:
        raise ConfigurationError(
            f"the model {name} is no NLI model: id2label of its config.json has the classes "
            f"{', '.join(labels.values())}, but must have entailment, and contradiction or "
            "not_entailment"
        )
    return places["entailment"], contrary


def _plain(label: str) -> str:
    return label.strip().casefold().replace("-", "_").replace(" ", "_")


class _Classifier(torch.nn.Module):
    """A sequence classifier of transformers as ids → logits of entailment and its contrary."""

    def __init__(self, model: Any, classes: Sequence[int], inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.classes = list(classes)
        self.inputs = tuple(inputs)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, T) each to (N, 2) float32."""
        more = {} if token_type_ids is None else {_TYPES: token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        chosen: torch.Tensor = logits[:, self.classes].float()
        return chosen


class _CrossEncoder:
    """One engine behind the port."""

    dimensions = 2

    def __init__(
        self, *, name: str, revision: str, window: int, tokeniser: PairTokenizer, inputs: int
    ) -> None:
        self.name = name
        self.revision = revision
        self.window = window
        self.tokenise = tokeniser
        self.forward: Forward = self._closed
        self._inputs = inputs

    def encode(self, pairs: Sequence[TextPair]) -> Rows:
        longest = max(map(len, pairs)) - 1
        if longest > self.window:
            raise ValueError(f"A pair has {longest} tokens; at most {self.window} fit.")
        padded = self.tokenise.pad(pairs)[: self._inputs]
        return freeing(
            lambda: self.forward(*padded), what=f"{len(pairs)} pairs of the model {self.name}"
        )

    def close(self) -> None:
        self.forward = self._closed
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _closed(self, *_: object) -> Rows:
        raise Unavailable(f"The model {self.name} is closed.")


def _reference(
    model: CrossEncoder, encoder: _CrossEncoder, classes: Sequence[int]
) -> tuple[list[TextPair], Rows]:
    """Probe pairs that fit into a window, and the library's logits of them: (P, 2)."""
    fitting = []
    pairs = []
    for texts in PROBES:
        premise, hypothesis = encoder.tokenise(texts)
        pair = TextPair(_bytes(premise), _bytes(hypothesis))
        if len(pair) - 1 <= encoder.window:
            fitting.append(texts)
            pairs.append(pair)
    logits = model.predict(
        fitting, activation_fn=torch.nn.Identity(), apply_softmax=False, show_progress_bar=False
    )
    return pairs, np.asarray(logits, np.float32)[:, list(classes)]


def _bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, np.int32).tobytes()


def _agreement(
    encoder: _CrossEncoder, probes: Sequence[TextPair], reference: Rows
) -> tuple[bool, str]:
    """Whether the probabilities of the probes, together and alone, are those of the reference."""
    rows = np.concatenate([encoder.encode(probes), *(encoder.encode([each]) for each in probes)])
    wanted = np.concatenate([reference, reference])
    worst = float(np.nan_to_num(np.abs(_entailed(rows) - _entailed(wanted)), nan=1.0).max())
    return (
        worst <= AGREEMENT,
        f"probabilities to {worst:.5f} of float32, at most {AGREEMENT} allowed",
    )


def _entailed(logits: Rows) -> Rows:
    """The probability of entailment against its contrary: (N, 2) to (N,)."""
    lead = logits[:, 0] - logits[:, 1]
    probabilities: Rows = 0.5 * (1 + np.tanh(0.5 * lead))
    return probabilities
