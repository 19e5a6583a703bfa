"""Locators of a tar's images."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.tar_places import Span, TarPlace
from caption_core.records import ErrorKind

SPANS = st.none() | st.builds(Span, st.integers(0, 1 << 62), st.integers(0, 1 << 62))


@settings(max_examples=80, deadline=None)
@given(SPANS, SPANS, SPANS, st.none() | st.tuples(st.sampled_from(ErrorKind), st.text()))
def test_a_locator_holds_the_place(
    image: Span | None, json: Span | None, txt: Span | None, error: tuple[ErrorKind, str] | None
) -> None:
    place = TarPlace(image, json, txt, *(error or ()))
    assert TarPlace.from_locator(place.to_locator()) == place


def test_a_locator_is_short() -> None:
    assert TarPlace(Span(512, 99), None, Span(1536, 7)).to_locator() == "512,99;;1536,7"
