from pathlib import Path

import pytest
import tensorflow as tf

from caption_core.training.curves import Curves
from tests.curve_reader import read_curves


def test_curves_go_on_in_a_file_of_their_own(tmp_path: Path) -> None:
    first = Curves(tmp_path / "curves")
    first.write(1, {"train/loss": tf.constant(3.0), "train/learning_rate": 0.5})
    first.write(2, {"train/loss": 2.0})
    first.flush()
    second = Curves(tmp_path / "curves")
    second.write(3, {"train/loss": 1.0})
    second.flush()
    assert len(list((tmp_path / "curves").iterdir())) == 2
    assert read_curves(tmp_path / "curves") == {
        "train/loss": pytest.approx({1: 3.0, 2: 2.0, 3: 1.0}),
        "train/learning_rate": pytest.approx({1: 0.5}),
    }


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curves = Curves(None)
    curves.write(1, {"train/loss": 3.0})
    curves.flush()
    assert list(tmp_path.iterdir()) == []
