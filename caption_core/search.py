"""Greedy and beam search over a decoder's step, in NumPy, outside the model's graph.

Shapes: B images, K beams, V tokens, T tokens of the longest caption. No Python loop runs over images or beams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.vocabulary import END, PAD, START, UNKNOWN

State = tuple[NDArray[np.float32], ...]
"""Recurrent arrays, each [B, K, ...]; the search reorders them along axis 1."""

Images = NDArray[np.intp]
"""Some images of a batch, by their place in it."""


class Step(Protocol):
    """A decoder's step over the images of a batch, whose memory it holds."""

    def __call__(self, tokens: NDArray[np.int32], state: State, /) -> tuple[NDArray[np.float32], State]:
        """(previous tokens int32 [B, K], state) to (logits float32 [B, K, V], next state)."""

    def of(self, images: Images, /) -> Step:
        """The step over these of its images, in this order; the logits of an image stay what they are."""


_NEVER_EMITTED = (PAD, START, UNKNOWN)
_IMPOSSIBLE = np.float32(-np.inf)

# Images that are settled leave the batch together, when they are this share of it: a runtime's memory is selected and
# its graph resized for every other batch size.
_LEAVING_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How captions are searched for.

    Attributes:
        beam_width: hypotheses kept an image; 1 is greedy search.
        max_tokens: longest caption in words, the end token not counted.
        length_penalty: alpha in score = log p / length^alpha (Wu et al. 2016, arXiv 1609.08144, without their
            constant), the end token counted in both; 0 ranks by plain log probability, which favours short captions.
        candidates: hypotheses to report beside the best one's text, itself included; at most `beam_width`, 0 for none.
    """

    beam_width: int = 3
    max_tokens: int = 20
    length_penalty: float = 0.7
    candidates: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.beam_width <= 64:
            raise UsageError(f"beam width must lie between 1 and 64, not {self.beam_width}")
        if not 1 <= self.max_tokens <= 200:
            raise UsageError(f"max tokens must lie between 1 and 200, not {self.max_tokens}")
        if not 0.0 <= self.length_penalty <= 5.0:
            raise UsageError(f"length penalty must lie between 0 and 5, not {self.length_penalty}")
        if not 0 <= self.candidates <= self.beam_width:
            most = f"the beam width {self.beam_width}"
            raise UsageError(f"candidates must lie between 0 and {most}, not {self.candidates}")


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """Finished captions of a batch, best first: as many as the settings ask for, N, and one at least.

    Attributes:
        tokens: int32 [B, N, T]; padding from the end token on.
        lengths: int32 [B, N], words a caption.
        scores: float32 [B, N], length-normalized log probability in nats; -inf where fewer than N captions finished.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    scores: NDArray[np.float32]


def search(step: Step, state: State, settings: SearchSettings) -> Hypotheses:
    """Decode a batch.

    Args:
        step: the decoder's step.
        state: the decoder's first state, each array [B, 1, ...].
        settings: a beam width of 1 runs greedy search.
    """
    if settings.beam_width == 1:
        return _greedy(step, state, settings)
    return _BeamSearch(step, state, settings).run()


def _log_probabilities(
    logits: NDArray[np.float32], before: NDArray[np.float32], position: int, settings: SearchSettings
) -> NDArray[np.float32]:
    """Log probabilities [B, K, V] of hypotheses that go on with each word, from theirs so far, `before` [B, K].

    Tokens that must not stand at `position` have -inf: a caption has at least one word, and after `max_tokens` words
    only the end token may follow.
    """
    highest = logits.max(axis=-1)
    shares = logits - highest[..., None]
    np.exp(shares, out=shares)
    # einsum, since a sum along the last axis takes three times as long.
    normalizers = highest + np.log(np.einsum("bkv->bk", shares))
    log_p: NDArray[np.float32] = logits + (before - normalizers)[..., None]
    if position == settings.max_tokens:
        ends = log_p[..., END].copy()
        log_p[:] = _IMPOSSIBLE
        log_p[..., END] = ends
        return log_p
    log_p[..., _NEVER_EMITTED] = _IMPOSSIBLE
    if position == 0:
        log_p[..., END] = _IMPOSSIBLE
    return log_p


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Where the `count` largest of each row of values [B, N] stand, in any order: [B, count]; 1 <= count <= N.

    None of them is in a group whose maximum falls behind those of `count` other groups. Groups are strided, so that
    maxima are taken of long slices, element by element: several times as fast as a partition of whole rows.
    """
    batch, total = values.shape
    size = math.isqrt(total // count)  # which makes the two partitions equally long
    groups = total // size
    grouped = values[:, : size * groups].reshape(batch, size, groups)
    best = _partitioned(grouped.max(axis=1), count)  # [B, count]
    inside = (best[:, None] + groups * np.arange(size)[:, None]).reshape(batch, -1)
    rest = np.broadcast_to(np.arange(size * groups, total), (batch, total - size * groups))
    among = np.concatenate((inside, rest), axis=1)
    return np.take_along_axis(among, _partitioned(np.take_along_axis(values, among, 1), count), 1)


def _partitioned(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    return np.argpartition(values, -count, axis=-1)[:, -count:]


def _leave(settled: NDArray[np.bool_]) -> bool:
    """Whether to go on without the images that are settled, bool [B]."""
    return bool(settled.mean() >= _LEAVING_SHARE)


def _greedy(step: Step, state: State, settings: SearchSettings) -> Hypotheses:
    batch = state[0].shape[0]
    tokens = np.full((batch, settings.max_tokens + 1), PAD, np.int32)
    lengths = np.zeros(batch, np.int32)
    log_p = np.zeros(batch, np.float32)
    images = np.arange(batch)  # those of the rows that are decoded, of which some may be settled
    settled = np.zeros(batch, bool)
    previous = np.full((batch, 1), START, np.int32)
    for position in range(settings.max_tokens + 1):
        logits, state = step(previous, state)
        choices = _log_probabilities(logits, log_p[images, None], position, settings)[:, 0]  # [rows, V]
        best = choices.argmax(axis=-1).astype(np.int32)
        log_p[images[~settled]] = np.take_along_axis(choices, best[:, None], -1)[~settled, 0]
        settled |= best == END
        rows = np.flatnonzero(~settled)
        if not len(rows):
            break
        tokens[images[rows], position] = best[rows]
        lengths[images[rows]] += 1
        previous = best[:, None]
        if _leave(settled):
            images, settled, previous = images[rows], settled[rows], previous[rows]
            step, state = step.of(rows), tuple(array[rows] for array in state)
    scores = log_p / np.maximum(lengths + 1, 1).astype(np.float32) ** np.float32(settings.length_penalty)
    return Hypotheses(tokens[:, None, : settings.max_tokens], lengths[:, None], scores[:, None].astype(np.float32))


class _BeamSearch:
    """One batch's search. Live hypotheses extend; finished ones wait in a pool of the K best an image.

    Each step looks at the 2K best continuations, so that K live ones remain even if K of them end. An image is done
    when no live hypothesis can beat the last of the N that are asked for any more. Going on from there, for the batch's
    other images, never changes these N, which is why no more of the pool is given away.

    Arrays have a row for each image that is still in the batch; those that have left are in `found`.
    """

    def __init__(self, step: Step, state: State, settings: SearchSettings) -> None:
        self.step, self.settings = step, settings
        batch, self.width = state[0].shape[0], settings.beam_width
        self.wanted = max(1, settings.candidates)
        self.images = np.arange(batch)
        self.state: State = tuple(np.repeat(array, self.width, axis=1) for array in state)
        shape = (batch, self.width)
        self.live_tokens = np.full((*shape, settings.max_tokens + 1), PAD, np.int32)
        # Only one beam is live at first: K equal ones would stay equal.
        self.live_log_p = np.full(shape, _IMPOSSIBLE, np.float32)
        self.live_log_p[:, 0] = 0.0
        self.done_tokens = self.live_tokens.copy()
        self.done_lengths = np.zeros(shape, np.int32)
        self.done_scores = np.full(shape, _IMPOSSIBLE, np.float32)
        self.previous = np.full(shape, START, np.int32)

        self.found = Hypotheses(
            np.empty((batch, self.wanted, settings.max_tokens), np.int32),
            np.empty((batch, self.wanted), np.int32),
            np.empty((batch, self.wanted), np.float32),
        )

    def run(self) -> Hypotheses:
        for position in range(self.settings.max_tokens + 1):
            logits, self.state = self.step(self.previous, self.state)
            log_p, parents, words = self._best_continuations(logits, position)
            self._finish(log_p, parents, words, position)
            self._extend(log_p, parents, words, position)
            settled = self._settled()
            if settled.all():
                break
            if _leave(settled):
                self._report(np.flatnonzero(settled))
                self._keep(np.flatnonzero(~settled))
        self._report(np.arange(len(self.images)))
        return self.found

    def _report(self, rows: Images) -> None:
        """Put the best of some rows' pools where they are given away from."""
        images = self.images[rows]
        self.found.tokens[images] = self.done_tokens[rows, : self.wanted, : self.settings.max_tokens]
        self.found.lengths[images] = self.done_lengths[rows, : self.wanted]
        self.found.scores[images] = self.done_scores[rows, : self.wanted]

    def _keep(self, rows: Images) -> None:
        """Go on with some rows only."""
        self.images, self.step = self.images[rows], self.step.of(rows)
        self.state = tuple(array[rows] for array in self.state)
        self.previous = self.previous[rows]
        self.live_tokens, self.live_log_p = self.live_tokens[rows], self.live_log_p[rows]
        self.done_tokens, self.done_lengths = self.done_tokens[rows], self.done_lengths[rows]
        self.done_scores = self.done_scores[rows]

    def _best_continuations(
        self, logits: NDArray[np.float32], position: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]:
        """The 2K best (log probability, parent beam, word), each [B, 2K], best first."""
        total = _log_probabilities(logits, self.live_log_p, position, self.settings)
        vocabulary = total.shape[-1]
        flat = total.reshape(len(total), -1)
        top = largest(flat, min(2 * self.width, flat.shape[1]))
        top_log_p = np.take_along_axis(flat, top, -1)
        # Ties go to the lower index, so that a caption does not depend on its batch.
        order = np.lexsort((top, -top_log_p), axis=-1)
        top = np.take_along_axis(top, order, -1)
        log_p = np.take_along_axis(top_log_p, order, -1)
        return log_p, top // vocabulary, (top % vocabulary).astype(np.int32)

    def _finish(
        self, log_p: NDArray[np.float32], parents: NDArray[np.int64], words: NDArray[np.int32], position: int
    ) -> None:
        """Move continuations that end into the pool, and keep its K best."""
        scores = np.where(words == END, log_p / self._norm(position + 1), _IMPOSSIBLE)
        tokens = np.take_along_axis(self.live_tokens, parents[:, :, None], 1)
        scores = np.concatenate((self.done_scores, scores), axis=1)
        tokens = np.concatenate((self.done_tokens, tokens), axis=1)
        lengths = np.concatenate((self.done_lengths, np.full(parents.shape, position, np.int32)), axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.width]
        self.done_scores = np.take_along_axis(scores, best, 1).astype(np.float32)
        self.done_tokens = np.take_along_axis(tokens, best[:, :, None], 1)
        self.done_lengths = np.take_along_axis(lengths, best, 1)

    def _extend(
        self, log_p: NDArray[np.float32], parents: NDArray[np.int64], words: NDArray[np.int32], position: int
    ) -> None:
        """Keep the K best continuations that go on, and bring the decoder's state into their order."""
        log_p = np.where(words == END, _IMPOSSIBLE, log_p)
        best = np.argsort(-log_p, axis=1, kind="stable")[:, : self.width]
        self.live_log_p = np.take_along_axis(log_p, best, 1)
        parents = np.take_along_axis(parents, best, 1)
        self.previous = np.take_along_axis(words, best, 1)
        self.live_tokens = np.take_along_axis(self.live_tokens, parents[:, :, None], 1)
        self.live_tokens[:, :, position] = self.previous
        rows = np.arange(len(parents))[:, None]
        self.state = tuple(array[rows, parents] for array in self.state)

    def _settled(self) -> NDArray[np.bool_]:
        """Which images' wanted captions nothing can change any more, bool [B]."""
        # Log probabilities only fall, and the longest norm divides most: the best a live hypothesis can still reach.
        reachable = self.live_log_p[:, 0] / self._norm(self.settings.max_tokens + 1)
        # An equal score comes too late: the pool's sort is stable.
        settled: NDArray[np.bool_] = reachable <= self.done_scores[:, self.wanted - 1]
        return settled

    def _norm(self, length: int) -> np.float32:
        return np.float32(length**self.settings.length_penalty)
