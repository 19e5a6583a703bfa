"""Images that are scored are there, and are known again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from caption_core.errors import UsageError
from compression.measuring.quality import ScoredSplit
from compression.scored_images import digest_scored
from tests.bundle_builders import SyntheticSet


def test_a_split_that_can_not_be_scored_is_refused(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    captions = str(synthetic_set.folder / "captions.token.txt")
    split = tmp_path / "split.txt"

    def check(names: str) -> None:
        split.write_text(names)
        digest_scored(ScoredSplit("split", synthetic_set.folder / "images", captions, str(split)))

    check("red_plain.png\n")
    with pytest.raises(UsageError, match=r"nowhere\.png: no such file"):
        check("red_plain.png\nnowhere.png\n")


def test_another_split_of_the_name_other_references_and_other_images_are_other_content(
    synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    captions = (synthetic_set.folder / "captions.token.txt").read_text()
    (tmp_path / "captions.txt").write_text(captions)
    shutil.copytree(synthetic_set.folder / "images", tmp_path / "images")
    path = tmp_path / "dev.txt"
    path.write_text("red_plain.png\n")
    split = ScoredSplit("dev", tmp_path / "images", str(tmp_path / "captions.txt"), str(path))
    before = digest_scored(split)
    assert before is not None
    assert (before.split, before.images) == ("dev", 1)
    elsewhere = replace(split, images=synthetic_set.folder / "images")
    assert digest_scored(elsewhere) == digest_scored(split) == before

    path.write_text("red_striped.png\n")
    assert digest_scored(split) != before
    path.write_text("red_plain.png\n")
    (tmp_path / "captions.txt").write_text(captions.replace("A red", "One red"))
    assert digest_scored(split) != before
    (tmp_path / "captions.txt").write_text(captions)
    shutil.copy(tmp_path / "images" / "blue_striped.png", tmp_path / "images" / "red_plain.png")
    assert digest_scored(split) != before


def test_an_image_that_is_scored_needs_a_reference(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    references = tmp_path / "captions.txt"
    references.write_text("blue_plain.png#0\ta blue wall\n")
    (tmp_path / "split.txt").write_text("blue_plain.png\nred_plain.png\n")
    scored = ScoredSplit("split", synthetic_set.folder / "images", str(references), str(tmp_path / "split.txt"))
    with pytest.raises(UsageError, match=r"--score-split .*: red_plain\.png has no reference in .*captions\.txt"):
        digest_scored(scored)
