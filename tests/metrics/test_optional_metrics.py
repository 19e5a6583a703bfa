from __future__ import annotations

import sys

import pytest

from caption_core.metrics import java_programs
from caption_core.metrics.optional_metrics import UnavailableError, open_metrics


def test_whatever_is_missing_is_told_in_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    metrics, notes = open_metrics()
    assert not {"METEOR", "SPICE"} & {metric.name for metric in metrics}
    assert {note.partition(" left out")[0] for note in notes} >= {"METEOR", "SPICE"}
    assert all("\n" not in note for note in notes)


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    monkeypatch.setattr(java_programs, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(UnavailableError, match=r"SPICE left out: no spice/x\.jar of pycocoevalcap; install Java"):
        java_programs.find_program("SPICE", "spice/x.jar")


def test_programs_are_found_without_importing_their_package() -> None:
    pytest.importorskip("pycocoevalcap")
    assert java_programs.find_program("METEOR", "meteor/meteor-1.5.jar").is_file()
