"""What `study`'s options mean: which models a part of a study needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from caption_core.errors import CapstanError
from compression.training_images import TrainingImages
from jobs.train_commands.compress import compress
from jobs.train_commands.study import study
from jobs.train_commands.study_options import _data

STUDY = """name: two
models: [lstm, gru]
variants:
  half: [{hard: {part: decoder, sparsity: 0.5}}]
"""


def refusal(folder: Path, *options: str) -> str:
    (folder / "two.yaml").write_text(STUDY, encoding="utf-8")
    arguments = [str(folder / "two.yaml"), "--output", str(folder / "out"), *options]
    result = CliRunner().invoke(study, arguments)
    assert isinstance(result.exception, CapstanError), result.output
    assert not (folder / "out").exists()
    return str(result.exception)


def test_a_part_needs_its_own_models_and_overlooks_others(tmp_path: Path) -> None:
    part = ("--variant", "gru+*")
    both = ("--model", f"lstm={tmp_path}", "--model", f"gru={tmp_path}")
    assert "no bundle" in refusal(tmp_path, *part, *both)  # the models are opened: neither is missing, or too many
    assert "needs the model 'gru'" in refusal(tmp_path, *part, "--model", f"lstm={tmp_path}")
    assert "has no model 'rnn'" in refusal(tmp_path, *part, "--model", f"gru={tmp_path}", "--model", f"rnn={tmp_path}")


@pytest.mark.parametrize("pattern", ["rnn+*", "half"])
def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    told = refusal(tmp_path, "--variant", pattern, "--model", f"gru={tmp_path}")
    assert f"no variant '{pattern}'; it has: lstm as is, gru as is, lstm+half, gru+half" in told


def data_of(folder: Path, *options: str) -> TrainingImages:
    arguments = ["--model", str(folder), "--output", str(folder / "out"), "--images", str(folder), *options]
    with compress.make_context("compress", arguments) as context:
        return _data(context.params)


def test_splits_and_images_to_skip_are_told_as_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("splits.json", "captions.json"):
        (tmp_path / name).touch()
    (tmp_path / "train").mkdir()  # a folder, which the split's name is not taken for
    told = ("--train-split", "train", "--splits", "splits.json", "--skip-missing")
    captions = data_of(tmp_path, *told, "--captions", "captions.json", "--dev-split", "val").captions
    assert captions is not None
    assert (captions.splits, captions.skip_missing) == (str(tmp_path / "splits.json"), True)
    assert (captions.train_split, captions.dev_split) == ("train", "val")

    calibration = data_of(tmp_path, *told)
    assert (calibration.train_split, calibration.captions) == ("train", None)
    assert (calibration.splits, calibration.skip_missing) == (str(tmp_path / "splits.json"), True)
    assert not data_of(tmp_path, "--train-split", "train").skip_missing


@pytest.mark.parametrize("idle", [("--splits", "splits.json"), ("--skip-missing",)])
def test_options_of_training_images_say_nothing_without_them(tmp_path: Path, idle: tuple[str, ...]) -> None:
    told = refusal(tmp_path, "--model", f"gru={tmp_path}", "--model", f"lstm={tmp_path}", *idle)
    assert told == f"{idle[0]} says nothing without --images and --train-split"
