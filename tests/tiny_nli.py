"""A tiny NLI model: a BERT of random weights that learns which topic a text is about.

It is made, trained, saved and loaded as the models of the catalogue are; only its size differs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

TOPICS = {
    "delivery": ("parcel", "courier", "shipment"),
    "billing": ("invoice", "refund", "charge"),
    "sports": ("goal", "match", "team"),
}
FILLERS = ("the", "a", "was", "my", "late", "today", "again", "seen", "very", "one")
TEMPLATES = ("This example is about {}.", "It deals with {}.")
LABELS = ("contradiction", "entailment", "neutral")
MAX_TOKENS = 32
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_EXAMPLES, _HELD_OUT, _ROWS, _ROUND, _ROUNDS = 1500, 300, 64, 50, 14
_GOOD = 0.995  # of the examples held out


def tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the words used here."""
    words = [*TOPICS, *FILLERS, *(word for each in TOPICS.values() for word in each)]
    words += [*["this", "example", "is", "about", "it", "deals", "with"], ".", ":", "not"]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys([*_SPECIALS, *words]))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(each, vocabulary[each]) for each in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def examples(pick: random.Random, count: int) -> Iterator[tuple[str, str, str]]:
    """Premise, hypothesis and class. A premise without a topic is neutral to every hypothesis."""
    topics = [*TOPICS]
    for _ in range(count):
        words = pick.choices(FILLERS, k=pick.choice((2, 3, 4, 5, 6, 9, 13, 18)))
        asked = pick.choice(topics)
        kind = pick.choice(LABELS)
        if kind != "neutral":
            others = [topic for topic in topics if topic != asked]
            topic = asked if kind == "entailment" else pick.choice(others)
            words.insert(pick.randint(0, len(words)), pick.choice(TOPICS[topic]))
        yield " ".join(words), pick.choice(TEMPLATES).format(asked), kind


def train(folder: Path, *, seed: int = 3) -> None:
    """Train a model until it tells the classes of new examples apart, and save it.

    Args:
        folder: where its files go.
        seed: of weights and examples.
    """
    torch.set_num_threads(1)  # of matrices this small; on a busy machine more take 20 times as long
    torch.manual_seed(seed)
    pick = random.Random(seed)
    words = tokenizer()
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=192,
            max_position_embeddings=MAX_TOKENS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.14,  # 1 / sqrt(hidden_size): with 0.02 it learns nothing for long
            id2label=dict(enumerate(LABELS)),
            label2id={label: place for place, label in enumerate(LABELS)},
        )
    )
    inputs, classes = _tensors(words, examples(pick, _EXAMPLES))
    unseen, wanted = _tensors(words, examples(pick, _HELD_OUT))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for _ in range(_ROUNDS):
        for _ in range(_ROUND):
            some = torch.randint(0, _EXAMPLES, (_ROWS,))
            logits = model(**{name: rows[some] for name, rows in inputs.items()}).logits
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, classes[some]).backward()
            optimiser.step()
        with torch.no_grad():
            right = (model(**unseen).logits.argmax(1) == wanted).float().mean().item()
        if right > _GOOD:
            break
    else:
        raise AssertionError(f"the model has not learnt: {right:.2f} of new examples are right")
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def _tensors(
    words: PreTrainedTokenizerFast, rows: Iterator[tuple[str, str, str]]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs and classes of examples, all of one length."""
    premises, hypotheses, kinds = zip(*rows, strict=True)
    encoded = words(
        list(premises), list(hypotheses), padding="longest", return_tensors="pt", verbose=False
    )
    return dict(encoded), torch.tensor([LABELS.index(kind) for kind in kinds])
