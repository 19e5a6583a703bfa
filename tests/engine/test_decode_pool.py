"""The cases of `decode_pool_cases.py`, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]


def test_tasks_decode_for_an_actor(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:logging"]
    cases = str(ROOT / "tests" / "engine" / "decode_pool_cases.py")
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'cases'}", cases], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
