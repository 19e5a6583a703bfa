from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.blocks import Sentences
from caption_core.metrics.caption_statistics import (
    CaptionStatistics,
    caption_keys,
    describe_captions,
    merge_statistics,
)
from caption_core.metrics.tokenizer import tokenize
from tests.metrics import plain_metrics
from tests.metrics.caption_strategies import wild_captions


def describe(captions: list[str], training: list[str] | None = None) -> CaptionStatistics:
    known = None if training is None else np.unique(caption_keys(build(training)))
    return describe_captions(build(captions), known)


def build(captions: list[str]) -> Sentences:
    return Sentences.build(captions, range(len(captions)))


def test_what_is_counted() -> None:
    facts = describe(["A dog runs.", "a dog runs", "the the the dog", ""], ["a dog runs", "x"]).as_dict()
    assert facts["captions"] == 4
    assert facts["mean_words"] == 2.5
    assert (facts["min_words"], facts["max_words"]) == (0, 4)
    assert facts["vocabulary"] == 4
    assert facts["distinct_share"] == 0.75  # the first two are equal after tokenization
    assert facts["novel_share"] == 0.5
    assert facts["repeated_1"] == pytest.approx(2 / 10)
    assert facts["repeated_2"] == pytest.approx(1 / 7)


def test_without_training_captions_novelty_is_unknown() -> None:
    assert describe(["a dog"]).as_dict()["novel_share"] is None
    assert describe(["a dog"], []).as_dict()["novel_share"] == 1.0


def test_keys_tell_captions_apart() -> None:
    keys = caption_keys(build(["a dog", "dog a", "a", "", "a dog dog", "A DOG."])).tolist()
    assert len(set(keys)) == 5
    assert keys[0] == keys[5]


@given(st.lists(wild_captions, min_size=1, max_size=10), st.integers(1, 9))
def test_parts_add_up_to_the_whole(captions: list[str], cut: int) -> None:
    cut = min(cut, len(captions) - 1) or 1
    parts = [part for part in (captions[:cut], captions[cut:]) if part]
    whole, merged = describe(captions, ["a dog"]), merge_statistics([describe(part, ["a dog"]) for part in parts])
    assert merged.as_dict() == whole.as_dict()


@given(st.lists(wild_captions, min_size=1, max_size=10))
def test_equals_the_plain_definition(captions: list[str]) -> None:
    tokens = [tokenize(caption) for caption in captions]
    facts = describe(captions).as_dict()
    assert facts["vocabulary"] == len({word for words in tokens for word in words})
    assert facts["distinct_share"] == len({tuple(words) for words in tokens}) / len(captions)
    for order in range(1, 5):
        counts = [plain_metrics.ngrams(words, order) for words in tokens]
        total = sum(sum(count.values()) for count in counts)
        repeated = total - sum(len(count) for count in counts)
        assert facts[f"repeated_{order}"] == pytest.approx(repeated / max(total, 1))
