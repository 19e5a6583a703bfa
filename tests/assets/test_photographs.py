"""The sample photographs: small, decodable, free of private metadata, and each with its licence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import caption_core

PHOTOGRAPHS = Path(caption_core.__file__).parent / "assets" / "photographs"
FILES = sorted(PHOTOGRAPHS.glob("*.jpg"))
MAX_BYTES = 100_000


def licences() -> dict[str, str]:
    """File name to licence, as the table beside the photographs says."""
    rows = re.findall(r"^\| (\S+\.jpg) \|(.*)\|$", (PHOTOGRAPHS / "LICENSES.md").read_text(), re.MULTILINE)
    return {name: cells.split("|")[2].strip() for name, cells in rows}


def test_there_are_six_to_ten() -> None:
    assert 6 <= len(FILES) <= 10


def test_each_photograph_has_a_licence_that_lets_it_be_passed_on() -> None:
    assert licences().keys() == {path.name for path in FILES}
    by_name = "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)"  # whose author the table names
    assert set(licences().values()) <= {"CC0", "public domain", by_name}


def test_nothing_else_is_in_the_folder() -> None:
    assert {path.name for path in PHOTOGRAPHS.iterdir()} == {"LICENSES.md", *licences()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_photograph_is_small_and_decodes(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES
    with Image.open(path) as image:
        image.load()
        assert image.format == "JPEG"
        assert min(image.size) >= 224, "no smaller than what an encoder takes"
        assert not image.getexif(), "no camera, place or owner"
