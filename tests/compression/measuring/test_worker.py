from pathlib import Path
from typing import Any

import pytest

from caption_core.errors import CapstanError
from compression.measuring.worker import answer


def request(bundle: Path, task: str, photographs: list[Path], **fields: Any) -> dict[str, Any]:
    return {"task": task, "bundle": str(bundle), "threads": 1, "files": list(map(str, photographs)), **fields}


@pytest.fixture
def photographs(bundled: Path) -> list[Path]:
    return sorted((bundled / "photographs").glob("*.jpg"))[:3]


def test_every_batch_is_timed_and_the_stages_are_shares_of_it(tiny_int8_bundle: Path, photographs: list[Path]) -> None:
    passes = [
        {"batch": 4, "beam_width": 2, "images": 8, "from_files": False},
        {"batch": 1, "beam_width": 1, "images": 5, "from_files": False},
    ]
    found = answer(request(tiny_int8_bundle, "speed", photographs, passes=passes))
    assert [len(times["batch_s"]) for times in found] == [2, 5]
    for times in found:
        assert min(times["batch_s"]) > 0
        # The first batch, which is left out of the one, is left out of the others too.
        assert 0 < times["encode_s"] + times["search_s"] <= sum(times["batch_s"])


def test_images_are_captioned_from_files(tiny_int8_bundle: Path, photographs: list[Path]) -> None:
    passes = [{"batch": 2, "beam_width": 1, "images": 4, "from_files": True}]
    (times,) = answer(request(tiny_int8_bundle, "speed", photographs, passes=passes))
    assert times["seconds"] > 0


def test_loading_tells_time_and_memory(tiny_int8_bundle: Path, photographs: list[Path]) -> None:
    result = answer(request(tiny_int8_bundle, "loading", photographs, batch=2))
    assert min(result[name] for name in ("load_s", "first_s")) > 0
    assert min(result[name] for name in ("before", "loaded", "captioned")) > 1_000_000


def test_what_is_no_bundle_is_refused(tmp_path: Path, photographs: list[Path]) -> None:
    with pytest.raises(CapstanError, match="no bundle here"):
        answer(request(tmp_path, "speed", photographs, passes=[]))
