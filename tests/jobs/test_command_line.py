"""How a job ends: one line on stderr, and an exit code that says what kind of end it is."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import click
import pyarrow as pa
import pytest
from packaging.requirements import Requirement
from pyarrow import fs

from caption_core.engine.interruption import Interrupted
from caption_core.errors import CapstanError, UsageError
from jobs.command_line import OF_EXTRA_TRAIN, run_command


def end_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["job"])
    return run_command(click.Command("job", callback=work))


def failing(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("wrong\nargument"), 2, "error: wrong argument"),
        (CapstanError("failed"), 1, "error: failed"),
        (PermissionError(errno.EACCES, "Permission denied", "/out/run.json"), 1, "/out/run.json: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", b"/out/part"), 1, "/out/part: No space left on device"),
        (OSError(errno.EIO, "Input/output error"), 1, "error: Input/output error"),
        (OSError(), 1, "error: OSError"),
        (OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."), 1, "access denied"),
    ],
)
def test_an_error_is_one_line(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(failing(error), monkeypatch) == code
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_a_missing_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    attempts: list[Callable[[], object]] = [
        lambda: Path(missing).read_bytes(),
        lambda: os.scandir(os.fsencode(missing)),
        lambda: fs.LocalFileSystem().open_input_file(missing),
        lambda: pa.memory_map(missing),
    ]
    for attempt in attempts:
        assert end_of(attempt, monkeypatch) == 1
        printed = capsys.readouterr().err
        assert missing in printed
        assert printed.count("\n") == 1


def test_a_signal_ends_a_job_with_one_line_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(failing(Interrupted(signal.SIGTERM)), monkeypatch) == 143
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize("name", ["matplotlib", "tensorflow.lite"])
def test_what_the_installation_lacks_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(failing(ModuleNotFoundError(f"No module named {name!r}", name=name)), monkeypatch) == 1
    assert capsys.readouterr().err == f"error: {name} is not installed: pip install 'capstan[train]'\n"


@pytest.mark.parametrize("name", [None, "compression.mistyped"])
def test_a_module_that_no_installation_brings_is_a_fault(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError):
        end_of(failing(ModuleNotFoundError("No module", name=name)), monkeypatch)


def test_what_the_extra_brings_is_known() -> None:
    """All of its packages have their modules' names, but for two."""
    extra = distribution("capstan").metadata.get_all("Requires-Dist") or []
    named = {Requirement(text).name for text in extra if 'extra == "train"' in text} - {"ray", "pyyaml"}
    assert {name.replace("-", "_") for name in named} | {"yaml"} == OF_EXTRA_TRAIN


def test_what_ends_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(lambda: None, monkeypatch) == 0
    assert end_of(lambda: 3, monkeypatch) == 3
    assert capsys.readouterr().err == ""
