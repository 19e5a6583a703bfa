import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.search import Images, SearchSettings, State, Step, largest, search
from caption_core.vocabulary import END, PAD, START, UNKNOWN

WORDS = 3
TOKENS = 4 + WORDS
WILD = st.sampled_from([-np.inf, -1.0, 0.0]) | st.floats(-9, 9, width=32)  # with ties


class RandomDecoder:
    """Logits that depend on the image and on all tokens so far: the state carries a hash of both."""

    def __init__(self, images: NDArray[np.int64]) -> None:
        self.first: State = (images.astype(np.float32)[:, None, None],)

    def logits_of(self, key: float) -> NDArray[np.float32]:
        return np.random.default_rng(int(key) % 2**32).normal(size=TOKENS).astype(np.float32) * 2

    def __call__(self, tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        key = (state[0] * 31 + tokens[:, :, None] * 7 + 1) % 65_521
        logits = np.stack([[self.logits_of(beam[0]) for beam in image] for image in key])
        return logits, (key.astype(np.float32),)

    def of(self, images: Images) -> Step:  # noqa: ARG002 - all that an image leaves is in the state
        return self


@dataclass
class Counting:
    """A step that writes down how many images it is asked for each time."""

    inner: Step
    images: list[int] = field(default_factory=list)

    def __call__(self, tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        self.images.append(len(tokens))
        return self.inner(tokens, state)

    def of(self, images: Images) -> Step:
        return replace(self, inner=self.inner.of(images))


@dataclass(frozen=True)
class MemoryDecoder:
    """Logits that depend on the memory of an image, on all tokens so far, and on their order."""

    memory: NDArray[np.float32]  # [B, 1, V]

    @property
    def first(self) -> State:
        return (np.zeros((len(self.memory), 1, self.memory.shape[-1]), np.float32),)

    def __call__(self, tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        heard = state[0] * np.float32(0.5) + np.cos(tokens[:, :, None] * np.arange(1, TOKENS + 1)).astype(np.float32)
        return heard * self.memory, (heard,)

    def of(self, images: Images) -> Step:
        return replace(self, memory=self.memory[images])


def exhaustive_best(decoder: RandomDecoder, options: SearchSettings) -> tuple[tuple[int, ...], float]:
    """The best caption of the first image among all that the settings allow."""
    best: tuple[tuple[int, ...], float] = ((), -np.inf)
    for length in range(1, options.max_tokens + 1):
        for words in itertools.product(range(4, TOKENS), repeat=length):
            score = log_probability(decoder, words) / (length + 1) ** options.length_penalty
            if score > best[1]:
                best = (words, score)
    return best


def log_probability(decoder: RandomDecoder, words: tuple[int, ...]) -> float:
    state, total, previous = decoder.first, 0.0, START
    for word in (*words, END):
        logits, state = decoder(np.array([[previous]], np.int32), state)
        shifted = logits[0, 0].astype(np.float64)
        total += shifted[word] - np.log(np.exp(shifted).sum())
        previous = word
    return total


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
@settings(max_examples=25, deadline=None)
def test_a_beam_that_holds_everything_finds_the_best_caption(seed: int, penalty: float) -> None:
    decoder = RandomDecoder(np.array([seed]))
    options = SearchSettings(beam_width=64, max_tokens=3, length_penalty=penalty)
    found = search(decoder, decoder.first, options)
    words, score = exhaustive_best(decoder, options)
    assert tuple(found.tokens[0, 0, : found.lengths[0, 0]]) == words
    assert found.scores[0, 0] == pytest.approx(score, abs=1e-4)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_captions_hold_words_only_and_end_in_padding(seed: int, width: int, longest: int) -> None:
    decoder = RandomDecoder(np.arange(seed, seed + 3))
    found = search(decoder, decoder.first, SearchSettings(width, longest))
    for tokens, length, score in zip(found.tokens[:, 0], found.lengths[:, 0], found.scores[:, 0], strict=True):
        assert 1 <= length <= longest
        assert not set(tokens[:length]) & {PAD, START, END, UNKNOWN}
        assert set(tokens[length:]) <= {PAD}
        assert np.isfinite(score)


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_an_image_gets_the_same_caption_alone_and_in_a_batch(seed: int, width: int) -> None:
    options = SearchSettings(width, max_tokens=6)
    together = RandomDecoder(np.arange(seed, seed + 4))
    batch = search(together, together.first, options)
    for row in range(4):
        single = RandomDecoder(np.array([seed + row]))
        alone = search(single, single.first, options)
        assert np.array_equal(alone.tokens[0, 0], batch.tokens[row, 0])
        assert alone.scores[0, 0] == batch.scores[row, 0]


@given(st.integers(0, 10_000), st.integers(1, 6), st.data())
@settings(max_examples=25, deadline=None)
def test_an_image_gets_the_same_candidates_alone_and_in_a_batch(seed: int, width: int, data: st.DataObject) -> None:
    options = SearchSettings(width, max_tokens=6, candidates=data.draw(st.integers(0, width)))
    together = RandomDecoder(np.arange(seed, seed + 4))
    batch = search(together, together.first, options)
    for row in range(4):
        single = RandomDecoder(np.array([seed + row]))
        alone = search(single, single.first, options)
        assert np.array_equal(alone.tokens[0], batch.tokens[row])
        assert np.array_equal(alone.lengths[0], batch.lengths[row])
        assert np.array_equal(alone.scores[0], batch.scores[row])


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
@settings(max_examples=25, deadline=None)
def test_a_beam_that_holds_everything_finds_the_best_candidates(seed: int, penalty: float) -> None:
    decoder = RandomDecoder(np.array([seed]))
    found = search(decoder, decoder.first, SearchSettings(64, 3, penalty, candidates=10))
    scores = sorted(
        log_probability(decoder, words) / (len(words) + 1) ** penalty
        for length in (1, 2, 3)
        for words in itertools.product(range(4, TOKENS), repeat=length)
    )
    np.testing.assert_allclose(found.scores[0], scores[:-11:-1], atol=1e-4)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 200)), elements=WILD), st.data())
def test_the_largest_of_a_row_are_found(values: NDArray[np.float32], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, min(values.shape[1], 24)))
    found = largest(values, count)
    assert [len(set(row)) for row in found.tolist()] == [count] * len(values)
    expected = np.sort(values, axis=1)[:, -count:]
    np.testing.assert_array_equal(np.sort(np.take_along_axis(values, found, 1), axis=1), expected)


def test_only_what_is_asked_for_takes_further_steps() -> None:
    steps: dict[int, int] = {}
    for candidates in (0, 1, 4):
        decoder = RandomDecoder(np.array([11]))
        step = Counting(decoder)
        found = search(step, decoder.first, SearchSettings(4, max_tokens=12, candidates=candidates))
        assert found.tokens.shape == (1, max(1, candidates), 12)
        steps[candidates] = len(step.images)
    assert steps[0] == steps[1] < steps[4]


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.data())
@settings(max_examples=50, deadline=None)
def test_images_that_leave_the_batch_take_nothing_with_them(
    seed: int, images: int, width: int, data: st.DataObject
) -> None:
    """Memory, state and result of an image stay its own, whatever images leave before it."""
    memory = np.random.default_rng(seed).normal(size=(images, 1, TOKENS)).astype(np.float32) * 3
    options = SearchSettings(width, max_tokens=8, candidates=data.draw(st.integers(0, width)))
    decoder = MemoryDecoder(memory)
    batch = search(decoder, decoder.first, options)
    for row in range(images):
        single = MemoryDecoder(memory[row : row + 1])
        alone = search(single, single.first, options)
        assert np.array_equal(alone.tokens[0], batch.tokens[row])
        assert np.array_equal(alone.lengths[0], batch.lengths[row])
        assert np.array_equal(alone.scores[0], batch.scores[row])


@pytest.mark.parametrize("width", [1, 3])
def test_settled_images_are_decoded_no_longer(width: int) -> None:
    decoder = RandomDecoder(np.arange(32))
    step = Counting(decoder)
    found = search(step, decoder.first, SearchSettings(width, max_tokens=12))
    assert step.images[0] == 32
    assert step.images[-1] < 16
    assert sorted(step.images, reverse=True) == step.images
    assert sum(step.images) >= (found.lengths[:, 0] + 1).sum()


def test_greedy_takes_the_likeliest_word_each_time() -> None:
    decoder = RandomDecoder(np.array([5]))
    found = search(decoder, decoder.first, SearchSettings(1, max_tokens=8, length_penalty=0.0))
    state, previous, expected = decoder.first, START, []
    for position in range(8):
        logits, state = decoder(np.array([[previous]], np.int32), state)
        logits[0, 0, [PAD, START, UNKNOWN, *([END] if position == 0 else [])]] = -np.inf
        previous = int(logits[0, 0].argmax())
        if previous == END:
            break
        expected.append(previous)
    assert list(found.tokens[0, 0, : found.lengths[0, 0]]) == expected
    assert found.scores[0, 0] == pytest.approx(log_probability(decoder, tuple(expected)), abs=1e-4)


def test_scores_are_sorted_and_hypotheses_differ() -> None:
    decoder = RandomDecoder(np.array([11, 12]))
    found = search(decoder, decoder.first, SearchSettings(4, max_tokens=5, candidates=4))
    for scores, tokens in zip(found.scores, found.tokens, strict=True):
        assert np.all(np.diff(scores[np.isfinite(scores)]) <= 0)
        finished = {tuple(row) for row, score in zip(tokens, scores, strict=True) if np.isfinite(score)}
        assert len(finished) == np.isfinite(scores).sum()


@pytest.mark.parametrize("wrong", [{"beam_width": 0}, {"max_tokens": 0}, {"length_penalty": -1.0}, {"beam_width": 65}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must lie between"):
        SearchSettings(**wrong)
