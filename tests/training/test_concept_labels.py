import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.training.batches import TokenTable
from caption_core.training.concept_labels import choose_concepts, concept_labels, mean_average_precision
from caption_core.vocabulary import END, START

A, DOG, CAT, RUNS = 4, 5, 6, 7


def table(*images: list[list[int]]) -> TokenTable:
    tokens = np.array([[[START, *words, END] for words in captions] for captions in images], np.int32)
    return TokenTable(tokens, np.full(len(images), tokens.shape[-1], np.int32))


FOUR = table([[A, DOG], [A, RUNS]], [[A, DOG], [A, DOG]], [[A, RUNS], [A, CAT]], [[A, A], [A, A]])


def test_concepts_are_the_words_of_more_than_one_image_and_at_most_half() -> None:
    concepts = choose_concepts(FOUR)
    assert concepts.tolist() == [DOG, RUNS]  # "a" is everywhere and "cat" in one image
    assert concept_labels(FOUR, concepts).tolist() == [[True, True], [True, False], [False, True], [False, False]]


def test_another_split_is_labelled_with_the_same_concepts() -> None:
    other = table([[CAT, CAT]], [[A, DOG]])
    assert concept_labels(other, np.array([DOG, RUNS])).tolist() == [[False, False], [True, False]]


def test_captions_without_concepts_are_refused() -> None:
    with pytest.raises(UsageError, match="no concepts"):
        choose_concepts(table([[A]], [[A]]))


def test_average_precision_is_that_of_the_ranking() -> None:
    labels = np.array([[True, False, False], [False, False, True], [True, False, False]])
    scores = np.array([[0.9, 0.5, 0.1], [0.5, 0.5, 0.2], [0.1, 0.5, 0.3]], np.float32)
    # First concept: ranks 1 and 3; the second occurs nowhere and counts nothing; the third: rank 2.
    assert mean_average_precision(labels, scores) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
