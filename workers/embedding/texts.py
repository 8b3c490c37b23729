"""Embeds texts of any length, and images, with an encoder and its microbatcher.

Decides which label prompts are cached. `workers.embedding.windows` cuts long texts into windows;
`workers.microbatching.microbatcher` decides priorities and batches.

Letters: N texts, W windows (W ≥ N), P prompts, D dimensions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from shared.byte_cache import OVERHEAD_BYTES, ByteCache
from workers.embedding.long_texts import SharedTokenizer
from workers.embedding.window_stream import WHOLE_WINDOWS, means_of_windows
from workers.embedding.windows import weighted_means, window_count, windows
from workers.futures import mapped
from workers.inputs.images.frame import Pixels
from workers.microbatching.microbatcher import Microbatcher
from workers.models.port import ImageEncoder, Rows, TextEncoder
from workers.work_context import WorkContext

_CACHE_BYTES = 32 * 2**20


class Embedder(SharedTokenizer):
    """What handlers use: one per loaded model, safe for any thread.

    Args:
        encoder: the model; only its `tokenise` is called here.
        batcher: the batcher in front of that model.
        cache_bytes: of the prompts that are remembered: 12,000 short ones at D = 384.
    """

    def __init__(
        self, encoder: TextEncoder, batcher: Microbatcher, *, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        super().__init__(encoder.tokenise)
        self.encoder = encoder
        self.batcher = batcher
        self._prompts = ByteCache[_Key, Rows]("prompts", max_bytes=cache_bytes)

    def embed(
        self,
        token_lists: Sequence[Sequence[int]],
        context: WorkContext,
        *,
        then: Callable[[Rows], Rows] | None = None,
    ) -> Future[Rows]:
        """The vectors of N texts given as tokens.

        A text longer than the model's window is the mean of its windows' vectors, weighted by
        their lengths, at unit length again. A text without tokens is one empty window. Many
        windows are not queued as a whole: see `workers.embedding.window_stream`.

        Args:
            token_lists: N lists of content ids of any length.
            context: decides their turn.
            then: what the rows become before the future gets them; quick, in the model's thread.

        Returns:
            A future of (N, D) float32 unit rows. Cancelling it takes the work out of the queue.

        Raises:
            Unavailable: when the model has stopped.
        """
        submit = partial(self.batcher.submit, context=context)
        size = self.encoder.window
        if all(len(tokens) <= size for tokens in token_lists):
            return submit(token_lists, finish=then)
        counts = [window_count(tokens, size) for tokens in token_lists]
        if sum(counts) > WHOLE_WINDOWS:
            cut = (windows(tokens, size) for tokens in token_lists)
            means = means_of_windows(submit, cut, counts, self.encoder.dimensions)
            return means if then is None else mapped(means, then)
        flat = [window for tokens in token_lists for window in windows(tokens, size)]
        weights = np.array([len(window) or 1 for window in flat], np.float32)  # (W,)
        starts = np.cumsum([0, *counts[:-1]])  # (N,)
        mean = partial(weighted_means, weights=weights, starts=starts)
        return submit(flat, finish=mean if then is None else lambda rows: then(mean(rows)))

    def embed_prompts(self, texts: Sequence[str], context: WorkContext) -> Future[Rows]:
        """The vectors of label prompts, (P, D); only those not remembered run.

        Args:
            texts: P prompts; equal ones run once.
            context: decides the turn of the missing ones, which others may wait for too.

        Raises:
            Unavailable: when the model has stopped.
        """
        keys = [(self.encoder.name, self.encoder.revision, text) for text in texts]
        kept = {key: self._prompts.get(key) for key in keys}
        known = {key: row for key, row in kept.items() if row is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in known]

        def finish(rows: Rows) -> Rows:
            fresh = dict(zip(missing, rows, strict=True))
            for key, row in fresh.items():
                own = row.copy()  # a view would keep its whole batch alive
                self._prompts.put(key, own, size_bytes=_size_bytes(key[-1], own))
            found = known | fresh
            if not keys:
                return np.zeros((0, self.encoder.dimensions), np.float32)
            return np.stack([found[key] for key in keys])

        if missing:
            tokens = self.tokenise([text for *_, text in missing])
            return self.embed(tokens, context.shared(), then=finish)
        ready: Future[Rows] = Future()
        ready.set_result(finish(np.zeros((0, self.encoder.dimensions), np.float32)))
        return ready


class ImageItem:
    """A image as a batcher takes it: images with the same pixels are the same."""

    __slots__ = ("_hash", "pixels")

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self._hash = hash(pixels.tobytes())  # a quarter of the time of a digest

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ImageItem)
            and self._hash == other._hash
            and np.array_equal(self.pixels, other.pixels)
        )

    def __hash__(self) -> int:
        return self._hash


class ImageBatcherModel:
    """The image tower of a model, as a batcher asks it."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self._encoder = encoder
        self.dimensions = encoder.dimensions

    def encode(self, windows: Sequence[ImageItem], /) -> Rows:
        """(N, D) unit rows."""
        return self._encoder.encode([still.pixels for still in windows])


class ImageEmbedder:
    """Images to vectors: what handlers use beside an `Embedder`, safe for any thread.

    Args:
        encoder: the image tower of a model.
        batcher: in front of it, of `ImageBatcherModel`.
        logit_scale: what cosines between images and texts are to be multiplied with.
    """

    def __init__(self, encoder: ImageEncoder, batcher: Microbatcher, *, logit_scale: float) -> None:
        self.encoder = encoder
        self.batcher = batcher
        self.logit_scale = logit_scale

    def embed(self, images: Sequence[Pixels], context: WorkContext) -> Future[Rows]:
        """The vectors of N images of the encoder's frame, (N, D) unit rows.

        Raises:
            Unavailable: when the model has stopped.
        """
        return self.batcher.submit([ImageItem(pixels) for pixels in images], context)


_Key = tuple[str, str, str]  # model, revision, text


def _size_bytes(text: str, row: Rows) -> int:
    return row.nbytes + sys.getsizeof(text) + OVERHEAD_BYTES
