from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caption_core.training.batches import plan_epoch, tokenize
from caption_core.training.dataset import CaptionedImages
from caption_core.vocabulary import END, PAD, START, UNKNOWN, Vocabulary


@given(
    st.lists(st.integers(3, 22), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 99), st.integers(0, 9)
)
def test_every_image_stands_in_exactly_one_batch(lengths: list[int], batch: int, seed: int, epoch: int) -> None:
    plan = plan_epoch(np.array(lengths, np.int32), batch_images=batch, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(plan)) == list(range(len(lengths)))
    assert max(map(len, plan)) <= batch


def test_a_plan_can_be_repeated_and_epochs_differ() -> None:
    lengths = np.random.default_rng(0).integers(3, 22, 500).astype(np.int32)

    def flat(seed: int, epoch: int) -> list[int]:
        return [int(i) for batch in plan_epoch(lengths, batch_images=8, seed=seed, epoch=epoch) for i in batch]

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(1, 1)
    assert flat(1, 0) != flat(2, 0)


def test_batches_hold_captions_of_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 22, 4000).astype(np.int32)
    plan = plan_epoch(lengths, batch_images=16, seed=1, epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in plan)
    assert padded < 1.1 * lengths.sum()  # unsorted batches of 16 would pad to 1.7 times the sum


def test_captions_become_padded_rows_and_long_ones_lose_their_end() -> None:
    images = CaptionedImages(Path(), ("a", "b"), (("a dog", "a cat sits here now"), ("a dog",)))
    vocabulary = Vocabulary(["a", "dog", "sits", "here"])
    table = tokenize(images, vocabulary, max_tokens=4)
    a, dog, sits, here = range(4, 8)
    assert table.tokens.tolist() == [
        [[START, a, dog, END, PAD, PAD], [START, a, UNKNOWN, sits, here, UNKNOWN]],
        [[START, a, dog, END, PAD, PAD], [PAD] * 6],
    ]
    assert table.lengths.tolist() == [6, 4]
