from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from caption_core.metrics.image_report import NAME, ImageReport
from caption_core.metrics.pairing import PairedTexts

TEXTS = PairedTexts(["a", "b"], ["a dog", ""], [["x", "y"], ["z"]])


def test_rows_and_their_description(tmp_path: Path) -> None:
    with ImageReport(tmp_path, ["CIDEr-D"]) as report:
        report.add(TEXTS, np.array([2.0, 0.0]), {"CIDEr-D": np.array([1.5, 0.0])})
        assert not (tmp_path / NAME).exists()
        report.add(TEXTS, np.array([2.0, 0.0]), {"CIDEr-D": np.array([0.5, 0.0])})
    table = pq.read_table(tmp_path / NAME)
    assert table.num_rows == 4
    assert table.slice(0, 1).to_pylist() == [
        {"image_id": "a", "caption": "a dog", "references": ["x", "y"], "num_tokens": 2, "CIDEr-D": 1.5}
    ]
    assert all(field.metadata[b"description"] for field in pq.read_schema(tmp_path / NAME))


def _add_and_fail(report: ImageReport) -> None:
    report.add(TEXTS, np.zeros(2), {})
    raise KeyError


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("old")
    with pytest.raises(KeyError), ImageReport(tmp_path, []) as report:
        _add_and_fail(report)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_text() == "old"
