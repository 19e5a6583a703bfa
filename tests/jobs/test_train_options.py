"""What `train`'s options mean, and which of them are refused before any cluster work."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from caption_core.errors import UsageError
from caption_core.training.config import TrainConfig
from jobs.train_commands.train import _train_config, train

MANY = ("--concepts-from", "block_6", "--fine-tune-from", "block_13", "--self-critical-epochs", "7")


@pytest.fixture
def needed(tmp_path: Path) -> list[str]:
    return ["--images", str(tmp_path), "--captions", "captions.json", "--output", str(tmp_path / "run")]


def config_of(arguments: list[str]) -> TrainConfig:
    with train.make_context("train", arguments) as context:
        options = {name: value for name, value in context.params.items() if name != "address"}
        return _train_config(**options)


def test_stages_follow_each_other_with_their_own_epochs_and_rates(needed: list[str]) -> None:
    rates = ("--concept-learning-rate", "0.1", "--learning-rate", "0.2", "--fine-tune-learning-rate", "0.3")
    epochs = ("--concept-epochs", "4", "--epochs", "5", "--fine-tune-epochs", "6")
    stages = config_of([*needed, *MANY, *rates, *epochs, "--self-critical-learning-rate", "0.4"]).stages
    found = [(s.objective, s.train_encoder_from, s.epochs, s.learning_rate) for s in stages]
    assert found == [
        ("concepts", "block_6", 4, 0.1),
        ("references", None, 5, 0.2),
        ("references", "block_13", 6, 0.3),
        ("self_critical", None, 7, 0.4),
    ]


def test_one_stage_on_a_frozen_encoder_is_the_default(needed: list[str]) -> None:
    (stage,) = config_of(needed).stages
    assert (stage.objective, stage.train_encoder_from) == ("references", None)


def test_a_run_from_a_bundle_may_go_straight_to_its_last_stage(needed: list[str], tmp_path: Path) -> None:
    arguments = [*needed, "--initial", str(tmp_path), "--epochs", "0", "--self-critical-epochs", "2"]
    assert [stage.objective for stage in config_of(arguments).stages] == ["self_critical"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--encoder", "vgg99"), "unknown encoder 'vgg99'"),
        (("--batch-images", "3", "--workers", "2"), "multiple of workers"),
        (("--accumulate", "3"), r"share of a batch \(32 images\) can't be cut into 3"),
        (("--patience", "0"), "patience must be at least 1 epoch"),
        (("--decoder", "rnn"), "unknown decoder 'rnn'"),
        (("--decoder-setting", "cell=cnn"), "cell must be lstm or gru"),
        (("--fine-tune-from", "block_99"), "no block 'block_99'"),
        (("--fine-tune-from", "block_13_expand"), "no block 'block_13_expand'"),
        (("--concepts-from", "block_6", "--epochs", "0", "--initial", "."), "references after them"),
        (("--decoder", "aoa", "--encoder-features", "global"), "attends to a grid"),
        (("--decoder-setting", "vocabulary_size=9"), "vocabulary_size follows from the data"),
        (("--seed", "-1"), "seed must lie in"),
        (("--seed", str(2**31)), "seed must lie in"),
    ],
)
def test_what_cannot_be_trained_is_refused(needed: list[str], arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_of([*needed, *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--units", "16", "--decoder-setting", "units=8"), "units is given twice"),
        (("--decoder-setting", "heads=2") * 2, "--decoder-setting is given twice"),
        (("--note", "nothing"), "--note takes PART=TEXT, not 'nothing'"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(needed: list[str], arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        config_of([*needed, *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fine-tune-epochs", "3"), "--fine-tune-epochs says nothing without --fine-tune-from"),
        (("--concept-learning-rate", ".1"), "--concept-learning-rate says nothing without --concepts-from"),
        (("--self-critical-learning-rate", ".1"), "says nothing without --self-critical-epochs"),
        (("--min-improvement", ".1"), "says nothing without --patience"),
        (("--initial", ".", "--min-word-count", "2"), "--min-word-count says nothing beside --initial"),
    ],
)
def test_an_option_that_would_say_nothing_is_refused(
    needed: list[str], arguments: tuple[str, ...], message: str
) -> None:
    done = CliRunner().invoke(train, [*needed, *arguments])
    assert done.exit_code == 2
    assert message in done.output
