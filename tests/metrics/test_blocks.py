from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from caption_core.metrics.blocks import Block, Sentences, word_key


def test_sentences_are_laid_out_flat() -> None:
    sentences = Sentences.build(["a dog", "", "a"], [0, 0, 1])
    assert sentences.lengths.tolist() == [2, 0, 1]
    assert sentences.words.tolist() == [word_key("a"), word_key("dog"), word_key("a")]
    assert sentences.owner.tolist() == [0, 0, 1]


def test_a_block_keeps_the_references_of_an_image_together() -> None:
    block = Block.build(["x", "y"], [["a", "b"], ["c"]])
    assert block.num_images == 2
    assert block.references_per_image.tolist() == [2, 1]
    assert block.references.owner.tolist() == [0, 0, 1]


def test_a_block_of_nothing() -> None:
    assert Block.build([], []).num_images == 0


@pytest.mark.parametrize(("candidates", "references"), [(["x"], []), (["x"], [[]])])
def test_what_can_not_be_scored_is_refused(candidates: list[str], references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="reference"):
        Block.build(candidates, references)


def test_keys_are_the_same_in_another_process() -> None:
    code = "from caption_core.metrics.blocks import word_key; print(word_key('dog'), word_key('\\ud800'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [int(key) for key in printed.split()] == [word_key("dog"), word_key("\ud800")]


def test_keys_of_different_words_differ() -> None:
    keys = {word_key(f"word{number}") for number in range(10_000)}
    assert len(keys) == 10_000
    assert max(keys) < 2**64
    assert np.array(list(keys), np.uint64).dtype == np.uint64
