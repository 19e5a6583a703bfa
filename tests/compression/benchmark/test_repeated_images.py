"""A few images as many."""

from __future__ import annotations

from pathlib import Path

import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE
from caption_core.errors import UsageError
from compression.benchmark.repeated_images import RepeatedImages

SAMPLES = DEFAULT_BUNDLE.parent / "photographs"


@pytest.mark.parametrize("in_memory", [False, True])
def test_they_come_in_turn_under_names_of_their_own(in_memory: bool) -> None:
    source = RepeatedImages.of(SAMPLES, 50, in_memory=in_memory)
    refs = [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]
    files = sorted(SAMPLES.glob("*.jpg"))
    assert len({ref.image_id for ref in refs}) == len(refs) == 50
    reader = source.open_reader()
    reader.begin(refs)
    for number, ref in enumerate(refs):
        assert reader.read(ref, 1 << 20).data == files[number % len(files)].read_bytes()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images here"):
        RepeatedImages.of(tmp_path, 5, in_memory=False)


def test_too_much_for_memory_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(1 << 29)
    with pytest.raises(UsageError, match="too many to be held in memory"):
        RepeatedImages.of(tmp_path, 5, in_memory=True)
    RepeatedImages.of(tmp_path, 5, in_memory=False)
