"""A submitted job writes where its output lasts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from caption_core.errors import UsageError
from jobs.caption_batch import main as caption_batch
from jobs.lasting_output import lasting_output
from jobs.train_compress import main as train_compress


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")


@pytest.mark.usefixtures("submitted")
@pytest.mark.parametrize("command", ["train", "compress", "study", "report", "evaluate", "benchmark"])
def test_commands_refuse_a_folder_that_goes_with_the_job(command: str) -> None:
    result = CliRunner().invoke(train_compress, [command, "--output", "runs/first"])
    assert isinstance(result.exception, UsageError), result.output
    assert "--output runs/first: a submitted job works in a temporary copy" in str(result.exception)


@pytest.mark.parametrize("command", ["train", "compress", "study", "report", "evaluate", "benchmark"])
def test_these_commands_write_to_folders_only(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in (False, True):
        if job:
            monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        result = CliRunner().invoke(train_compress, [command, "--output", "s3://bucket/runs/first"])
        assert result.exit_code == 2
        assert "s3://bucket/runs/first: must be a folder" in result.output


@pytest.mark.usefixtures("submitted")
def test_so_does_captioning(tmp_path: Path) -> None:
    result = CliRunner().invoke(caption_batch, ["run", "--input", str(tmp_path), "--output", "captions"])
    assert isinstance(result.exception, UsageError), result.output
    assert "--output captions: a submitted job works" in str(result.exception)


@pytest.mark.usefixtures("submitted")
@pytest.mark.parametrize("output", ["/data/captions", "s3://bucket/captions"])
def test_what_lasts_passes(output: str) -> None:
    assert lasting_output(output) == output


def test_a_job_that_was_not_submitted_works_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    option = next(one for one in train_compress.commands["benchmark"].params if one.name == "output")
    assert option.type.convert("bench", None, click.Context(train_compress)) == tmp_path.resolve() / "bench"
