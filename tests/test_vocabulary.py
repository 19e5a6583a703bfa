from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.errors import BundleError
from caption_core.vocabulary import END, PAD, SPECIAL_TOKENS, START, UNKNOWN, Vocabulary, split_words


def test_words_are_lower_case_without_punctuation() -> None:
    assert split_words('A man\'s T-shirt says "Hi" , 3 times .') == [
        "a",
        "man's",
        "t-shirt",
        "says",
        "hi",
        "3",
        "times",
    ]


def test_rare_words_become_the_unknown_token() -> None:
    vocabulary = Vocabulary.from_captions(["a dog", "a cat", "a dog"], min_count=2)
    assert vocabulary.words == ("a", "dog")
    assert vocabulary.encode("a cat", max_tokens=5) == [vocabulary.encode("a", max_tokens=1)[0], UNKNOWN]


def test_order_is_by_frequency_then_by_code_point() -> None:
    vocabulary = Vocabulary.from_captions(["b c", "c a", "a b", "z z z z"], min_count=1)
    assert vocabulary.words == ("z", "a", "b", "c")


def test_decoding_stops_at_the_end_token_and_drops_special_ones() -> None:
    vocabulary = Vocabulary(["a", "dog"])
    a, dog = vocabulary.encode("a dog", max_tokens=2)
    assert vocabulary.decode([START, a, UNKNOWN, dog, PAD, END, a]) == "a dog"


@given(st.text())
def test_encoding_and_decoding_keep_all_words_of_any_text(text: str) -> None:
    words = split_words(text)
    vocabulary = Vocabulary.from_captions([text], min_count=1)
    assert vocabulary.decode(vocabulary.encode(text, max_tokens=len(words) + 1)) == " ".join(words)


@pytest.mark.parametrize("words", [["a", "a"], ["a", ""], ["two words"], [SPECIAL_TOKENS[0]]])
def test_a_vocabulary_refuses_words_that_could_not_be_read_back(words: list[str]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.txt"):
        Vocabulary.load(tmp_path / "gone.txt")
