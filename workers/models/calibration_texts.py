"""English texts of many kinds and lengths, generated: what an int8 model is calibrated on.

They are sentences of messages, news, reviews and questions, label templates among them, since the
ranges of activations depend on the kind of a text. The generator is seeded, so that each machine
makes the same model.
"""

from __future__ import annotations

import random

_SUBJECTS = (
    "the invoice", "my account", "the package", "our team", "the new phone", "the central bank",
    "a local court", "the patient", "this film", "the hotel room", "the goalkeeper",
    "an old laptop", "the school board", "the pasta", "her passport", "the software update",
    "a small startup", "the train", "the government", "the warranty", "my landlord",
    "the researchers", "the customer", "the garden", "a delayed flight", "the password",
)  # fmt: skip
_PREDICATES = (
    "was charged twice", "does not arrive", "lost the match", "raised interest rates",
    "crashed again", "tastes wonderful", "made me cry", "has been cancelled", "needs a repair",
    "was published yesterday", "is far too expensive", "works better than expected",
    "broke after two days", "asks for a refund", "won the award", "reported strong profits",
    "confirmed the results", "is still waiting", "changed the rules", "became very popular",
)  # fmt: skip
_CIRCUMSTANCES = (
    "since Monday", "in the third quarter", "because of the heavy rain",
    "and nobody answers my emails", "according to a study", "for less than 20 dollars",
    "at the airport in Frankfurt", "despite the protests", "with a few simple steps",
    "before the deadline on 12 May", "although I paid by card", "during the championship",
    "on my Android device", "for the first time in ten years", "and I am very disappointed",
    "thanks to the helpful staff",
)  # fmt: skip
_FORMS = (
    "{s} {p} {c}.", "Why is it that {s} {p} {c}?", "I think {s} {p}, {c}!!", "{s} {p}",
    "{c}, {s} {p}; experts say that {s2} {p2} {c2}.", "omg {s} {p} lol :(",
    "Please help: {s} {p} {c}. Order no. 48-{n}, thanks.", "What does it mean when {s} {p}?",
    "RE: {s} - {p} {c}", "This text is about {s}.", "I feel that {s} {p}.",
    "{n} reasons why {s} {p} {c}", "ERROR {n}: {s} {p} at line {n}",
    "@user {s} {p} {c} #news http://t.co/{n}", "{s}",
)  # fmt: skip
_SEED = 1
_LENGTHS = (2, 4, 8, 16)  # sentences of every third text


def calibration_texts(count: int) -> list[str]:
    """So many texts of 1 to 16 sentences.

    >>> calibration_texts(2)[1]
    'ERROR 3594: her passport is still waiting at line 3594'
    """
    draw = random.Random(_SEED)
    texts = []
    for number in range(count):
        sentences = 1 if number % 3 else draw.choice(_LENGTHS)
        texts.append(" ".join(_sentence(draw) for _ in range(sentences)))
    return texts


def _sentence(draw: random.Random) -> str:
    sentence = draw.choice(_FORMS).format(
        s=draw.choice(_SUBJECTS),
        s2=draw.choice(_SUBJECTS),
        p=draw.choice(_PREDICATES),
        p2=draw.choice(_PREDICATES),
        c=draw.choice(_CIRCUMSTANCES),
        c2=draw.choice(_CIRCUMSTANCES),
        n=draw.randrange(10, 9999),
    )
    return sentence[:1].upper() + sentence[1:] if draw.random() < 0.7 else sentence
