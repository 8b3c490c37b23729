"""Online multi-class passive-aggressive learning, averaged.

Decides: how one example moves the weights, and their average. Does not decide: where they start
from (an argument) nor how far to trust them (`hedge`).

Crammer, Dekel, Keshet, Shalev-Shwartz, Singer 2006, "Online Passive-Aggressive Algorithms". The
weights of the true label and of its strongest rival move just so far that the margin between them
becomes 1, or as far as the cap allows. The bias is a weight of a constant feature, and the length
in the step counts that feature; left out, the margin overshoots to 1.5. Averaged over all steps
(Freund and Schapire 1999).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]
Kind = Literal["PA-I", "PA-II"]

CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class PassiveAggressive:
    """Weights (L, D + 1), the constant feature last.

    `lag` is what the average lies behind the weights; `steps`, how many examples were visited.
    PA-I caps a step at `aggressiveness`; PA-II makes all steps softer by 1 / (2 aggressiveness).
    """

    weights: Floats
    lag: Floats
    steps: float = 0.0
    kind: Kind = "PA-I"
    aggressiveness: float = 0.3

    @classmethod
    def start(
        cls, rows: Floats, *, kind: Kind = "PA-I", aggressiveness: float = 0.3
    ) -> PassiveAggressive:
        """From rows (L, D) and no bias."""
        weights = _with_bias(rows)
        return cls(
            weights=weights, lag=np.zeros_like(weights), kind=kind, aggressiveness=aggressiveness
        )

    def grow(self, rows: Floats) -> PassiveAggressive:
        """With more labels at the end that start from `rows`."""
        more = _with_bias(rows)
        return replace(
            self,
            weights=np.concatenate([self.weights, more]),
            lag=np.concatenate([self.lag, np.zeros_like(more)]),
        )

    @property
    def average(self) -> Floats:
        """Mean of the weights over all steps, (L, D + 1)."""
        return self.weights - self.lag

    def learn(self, x: Floats, y: Ints, weights: Doubles, passes: Ints) -> PassiveAggressive:
        """The examples in turn, again and again until each has had its passes.

        Args:
            x: (N, D). y: (N,) indices.
            weights: (N,) how much the cap is widened for an example; above 0.
            passes: (N,) how often each is visited, 1 and up.

        >>> x, y = np.array([[1.0, 0.0]], np.float32), np.array([0])
        >>> pa = PassiveAggressive.start(np.zeros((2, 2), np.float32), aggressiveness=10)
        >>> pa.learn(x, y, np.ones(1), np.array([1])).weights.tolist()  # margin 0.5 + 0.5
        [[0.25, 0.0, 0.25], [-0.25, 0.0, -0.25]]
        """
        everything = np.ones((1, len(x)), np.bool_)
        return self.learn_each(x, y, weights, passes, everything)[0]

    def learn_each(
        self, x: Floats, y: Ints, weights: Doubles, passes: Ints, seen: NDArray[np.bool_]
    ) -> list[PassiveAggressive]:
        """R learners that each see some of the examples, for little more than the cost of one.

        They visit the same examples at the same time, and those that must not see one stand still:
        what a step costs is calls of numpy, whose number does not grow with R.

        Args:
            x: (N, D). y, weights, passes: (N,), as in `learn`.
            seen: (R, N), which learner sees which example.
        """
        runs, labels = len(seen), len(self.weights)
        rows = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)  # (N, D + 1)
        now = np.tile(self.weights, (runs, 1))  # (R L, D + 1)
        visits = seen * passes  # (R, N)
        begin, end = np.full(runs, self.steps), self.steps + visits.sum(axis=1)
        late = np.zeros((len(x), runs, labels), np.float32)  # what each example adds to the lag
        done = begin
        for turn in range(int(passes.max(initial=0))):
            todo = np.flatnonzero(passes > turn)
            for first in range(0, len(todo), CHUNK):
                part = todo[first : first + CHUNK]
                of_part, visited = y[part], seen[:, part].T  # (B,), (B, R)
                steps = self._chunk(now, rows[part], of_part, weights[part], visited)  # (B, R L)
                # Step t of T is missing from t / T of the average.
                before = done + np.cumsum(visited, axis=0) - visited  # (B, R)
                share = (before / np.maximum(end, 1.0)).astype(np.float32)
                late[part] += steps.reshape(len(part), runs, labels) * share[:, :, None]
                done = done + visited.sum(axis=0)
        lag = (late.reshape(len(x), runs * labels).T @ rows).reshape(runs, *self.lag.shape)
        kept = (begin / np.maximum(end, 1.0)).astype(np.float32)
        return [
            # A copy: a view would keep the weights of all R in memory.
            replace(
                self, weights=of_run.copy(), lag=kept[r] * self.lag + lag[r], steps=float(end[r])
            )
            for r, of_run in enumerate(now.reshape(runs, *self.weights.shape))
        ]

    def _chunk(
        self, now: Floats, x: Floats, y: Ints, weights: Doubles, seen: NDArray[np.bool_]
    ) -> Floats:
        """Move `now` (R L, D + 1) by a chunk of B examples; the signed steps (B, R L).

        The same as updating the weights at every step. Scores are corrected by the steps before, of
        which the Gram matrix of the chunk tells what they did to them, so that the weights are
        read and written once per chunk. All in units of the step that would close the gap.
        """
        gram = x @ x.T  # (B, B)
        each, labels = np.arange(len(y)), len(now) // seen.shape[1]
        unit, cap = self._unit(2.0 * gram.diagonal(), weights)  # (B,), (B,)
        start = (x @ now.T).reshape(len(y), -1, labels)  # (B, R, L)
        start += (1.0 - start[each, :, y])[:, :, None]  # the loss, per rival
        start[each, :, y] = -np.inf
        start *= unit[:, None, None]
        gram *= unit[:, None]
        steps = np.zeros((len(y), len(now)), np.float32)
        self._walk(start.reshape(len(y), -1), gram, y, np.where(seen, -cap[:, None], 0.0), steps)
        moved = np.flatnonzero(steps.any(axis=0))
        now[moved] += steps[:, moved].T @ x
        return steps

    @staticmethod
    def _walk(start: Floats, gram: Floats, y: Ints, low: Floats, steps: Floats) -> None:
        """Fill in `steps` (B, R L) one example after the other; `low` (B, R) is minus the caps.

        Call by call of numpy, for nothing else costs: 5 us a step of 11 learners of 10 labels.
        """
        runs = low.shape[1]
        labels = steps.shape[1] // runs
        offset = np.arange(runs) * labels
        change, row = np.empty(runs * labels, np.float32), np.empty(runs * labels, np.float32)
        by_run, rival = row.reshape(runs, labels), np.empty(runs, np.intp)
        step, zero = np.empty(runs, np.float32), np.zeros(runs, np.float32)
        for i, (true, at, near, least, now) in enumerate(
            zip(y.tolist(), start, gram, low, steps, strict=True)
        ):
            np.dot(near[:i], steps[:i], out=change)
            np.add(at, change, out=row)
            by_run.argmax(axis=1, out=rival)
            np.add(rival, offset, out=rival)
            np.subtract(change[true::labels], row.take(rival), out=step)  # minus the loss
            np.minimum(step, zero, out=step)
            np.maximum(step, least, out=step)
            np.negative(step, out=now[true::labels])
            now[rival] = step

    def _unit(self, square: Floats, weights: Doubles) -> tuple[Floats, Floats]:
        """What a loss of 1 moves the weights by without a cap, and the cap, each (B,)."""
        room: Floats = (self.aggressiveness * weights).astype(np.float32)
        if self.kind == "PA-I":
            return 1.0 / square, room
        softer: Floats = square + np.float32(0.5) / room
        return 1.0 / softer, np.full_like(room, np.inf)


def _with_bias(rows: Floats) -> Floats:
    return np.concatenate([rows, np.zeros((len(rows), 1), np.float32)], axis=1).astype(np.float32)
