"""Which images steps train on. `test_study_run.py` has what a study makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from compression.training_images import TrainingImages


def test_training_images_may_be_a_split_that_another_file_names(tmp_path: Path) -> None:
    pictures = [
        {"filename": name, "split": split, "sentences": []}
        for name, split in (("a.jpg", "train"), ("b.jpg", "val"), ("c.jpg", "restval"))
    ]
    (tmp_path / "splits.json").write_text(json.dumps({"images": pictures}))
    data = TrainingImages(tmp_path, "train+restval", None, tmp_path, splits=str(tmp_path / "splits.json"))
    assert data.read()[0] == ("a.jpg", "c.jpg")
