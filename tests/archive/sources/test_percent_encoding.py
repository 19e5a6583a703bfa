"""Columns are percent-encoded as the standard library does it."""

from __future__ import annotations

from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.sources import percent_encoding
from caption_core.archive.sources.percent_encoding import quote_texts

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(st.sampled_from("ab/~. %é"), max_size=6)


@given(st.lists(TEXTS, max_size=8), st.integers(0, 3), st.integers(1, 9))
def test_columns_are_quoted_like_texts(texts: list[str], skipped: int, at_once: int) -> None:
    column = pa.array(texts, pa.large_string()).slice(skipped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percent_encoding, "_ROWS_AT_ONCE", at_once)
        quoted = quote_texts(column)
    quoted.validate(full=True)
    assert quoted.type == pa.large_string()
    assert quoted.to_pylist() == [quote(text) for text in texts[skipped:]]
