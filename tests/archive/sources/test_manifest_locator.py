"""Locators of manifests' rows: what goes in comes out, and most are the path alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.sources.manifest_locator import Locator
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@st.composite
def locators(draw: st.DrawFn) -> Locator:
    has_path = draw(st.booleans())
    return Locator(
        draw(TEXTS | TEXTS.map("!".__add__)) if has_path else None,
        None if has_path else ImageError(draw(st.sampled_from(ErrorKind)), draw(TEXTS)),
        draw(st.none() | st.integers(0, 1 << 40)),
        draw(st.dictionaries(TEXTS, st.none() | TEXTS, max_size=2)),
    )


@given(locators())
def test_what_goes_in_comes_out(locator: Locator) -> None:
    found = Locator.parse(str(locator))
    assert (found.path, found.row, found.carried) == (locator.path, locator.row, locator.carried)
    assert repr(found.fault) == repr(locator.fault)
    if found.fault is not None and locator.fault is not None:
        assert found.fault.kind is locator.fault.kind


def test_a_path_is_its_own_locator() -> None:
    for path in ("a/b.jpg", "http://a/b?c={}", "", '{"path": "a"}', "ä !"):
        assert str(Locator(path)) == path


def test_a_path_that_looks_like_another_locator_is_told_apart() -> None:
    assert str(Locator("!a")) == '!{"path":"!a"}'
