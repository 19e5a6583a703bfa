"""Siblings by key: as a dictionary has them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.tar_places import Span
from caption_core.archive.sources.tar_siblings import SiblingTable

KEYS = st.binary(max_size=2)
SPANS = st.builds(Span, st.integers(0, 1 << 62), st.integers(0, 1 << 62))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(KEYS, SPANS), max_size=30), st.lists(KEYS, max_size=30))
def test_the_last_file_with_a_key_is_found(files: list[tuple[bytes, Span]], asked: list[bytes]) -> None:
    table = SiblingTable()
    for key, span in files:
        table.add(key, span)
    expected = dict(files)
    for keys in (asked, list(expected)):
        assert table.find(keys) == [expected.get(key) for key in keys]
