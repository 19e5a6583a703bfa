"""Names of files as text: readable, unique, reversible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.sources.file_names import name_to_text, text_to_name

# Pieces that make collisions likely: escapes that are literally in a name, beside bytes that get escaped.
NAMES = st.lists(st.sampled_from([b"\\", b"x", b"e9", b"\xe9", b"\\xe9", b"\\x5c", b"\xc3\xa9", b"\n"])).map(b"".join)


@given(st.binary() | NAMES)
def test_the_name_comes_back(name: bytes) -> None:
    text = name_to_text(name)
    text.encode("utf-8")
    assert text_to_name(text) == name


@given(NAMES, NAMES)
def test_two_names_never_meet(one: bytes, other: bytes) -> None:
    assert (name_to_text(one) == name_to_text(other)) == (one == other)


@pytest.mark.parametrize("text", ["a b.jpg", "żółw 🐢.png", "back\\slash.png", "new\nline.gif"])
def test_a_utf8_name_stays_as_it_is(text: str) -> None:
    assert name_to_text(text.encode()) == text


def test_other_bytes_are_escaped() -> None:
    assert name_to_text(b"caf\xe9.jpg") == r"caf\xe9.jpg"
    assert name_to_text(rb"caf\xe9.jpg") == r"caf\x5cxe9.jpg"
