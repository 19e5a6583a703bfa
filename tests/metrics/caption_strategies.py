"""Random captions for property tests: few words, so that n-grams meet; marks, other scripts and nothing at all too."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = ["a", "dog", "runs", "on", "the", "grass", "red", "t-shirt", "can't", "dog's", "St.", "U.S.", "1,000", "café"]
MARKS = [".", ",", "!", "?", ";", ":", "-", "--", "...", '"', "'", "(", ")", "&", "%", "犬", "собака", "😀", "cannot"]

plain_captions = st.lists(st.sampled_from(WORDS[:7]), max_size=12).map(" ".join)
wild_captions = st.lists(st.sampled_from(WORDS + MARKS), max_size=12).map(" ".join) | st.text(max_size=40)


def corpora(captions: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, tuple[str, list[str]]]]:
    """Image id -> (candidate, references)."""
    images = st.tuples(captions, st.lists(captions, min_size=1, max_size=5))
    return st.dictionaries(st.integers(0, 99).map(str), images, min_size=1, max_size=8)
