"""Frames of pandas and polars in and out, in an environment that has both."""

from __future__ import annotations

import pandas
import polars
from pigeonhole_client import Pigeonhole
from pigeonhole_client.errors import ConfigurationError

LABELS = ["red", "green"]
TEXTS = ["a red rose", None, "a green leaf", "  "]
COLUMNS = {"number": [1, 2, 3, 4], "text": TEXTS}


def main() -> None:
    """Fails by an assertion."""
    made = pandas.DataFrame(COLUMNS, index=list("abcd"))
    with Pigeonhole() as client:
        for frame in (made, polars.DataFrame(COLUMNS)):
            kind = type(frame).__module__
            tagged = client.classify_frame(frame, LABELS)
            assert type(tagged) is type(frame), kind
            assert _values(tagged, "prediction") == ["red", None, "green", None], kind
            assert _values(tagged, "number") == [1, 2, 3, 4], kind
            assert list(frame.columns) == ["number", "text"], "the frame itself is not changed"

            batch = client.batches.tag_frame(frame, LABELS, top_k=1)
            assert _values(batch, "prediction") == ["red", None, "green", None], kind
            assert _values(batch, "error") == [None, "empty_text", None, "empty_text"], kind
            scores = _values(batch, "score")
            assert scores[1] is None
            assert abs(scores[0] - _values(tagged, "score")[0]) < 1e-5, kind

            series = frame["text"][:1]
            assert client.classify(series, LABELS).data[0].prediction == "red", kind
            assert _refusal(client, frame) == "the frame has no column 'words'; it has number, text"

            examples = type(frame)({"words": ["red", "green"], "label": LABELS})
            trained = client.train(examples, text_column="words")
            assert trained.num_samples == 2, kind
            empty = client.batches.tag_frame(frame[:0], LABELS)
            assert list(empty.columns) == ["number", "text", "prediction", "score", "error"], kind


def _refusal(client: Pigeonhole, frame: object) -> str:
    try:
        client.classify_frame(frame, LABELS, text_column="words")
    except ConfigurationError as error:
        return str(error)
    return "a column that is not there is taken"


def _values(frame: object, column: str) -> list[object]:
    found = frame[column].to_list()  # type: ignore[index]
    return [None if value is None or value != value else value for value in found]


if __name__ == "__main__":
    main()
