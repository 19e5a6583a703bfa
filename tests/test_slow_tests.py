"""Slow tests can be told to end in time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = """import pytest


@pytest.mark.slow
def test_slow():
    pass


def test_fast():
    pass
"""


def test_slow_tests_whose_turn_comes_too_late_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_both.py").write_text(MODULE)
    options = ["-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    until = {"CAPSTAN_SLOW_UNTIL": str(time.time() - 60)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | until, capture_output=True, text=True, check=False)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "test_both.py::test_slow: slow, and its turn came after" in done.stdout
