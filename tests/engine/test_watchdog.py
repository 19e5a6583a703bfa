"""A process that hangs in native code ends; one that beats, or rests, lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# PyDLL keeps Python's lock while it calls C: nothing else of Python runs meanwhile.
PROGRAM = """
import ctypes, sys, time
from caption_core.engine import watchdog
watchdog._SLACK_S = watchdog._SECONDS_AN_IMAGE = 0
dog = watchdog.Watchdog(image_timeout_s=0.5, batch_size=1)
dog.beat()
{then}
print("alive")
"""


def run(then: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(then=then)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=100)


def test_native_code_that_lets_nothing_run_is_ended() -> None:
    done = run("ctypes.PyDLL(None).sleep(60)")
    assert done.returncode == 1
    assert "alive" not in done.stdout


def test_beats_and_rest_keep_a_process_alive() -> None:
    assert run("for _ in range(20): time.sleep(0.1); dog.beat()").stdout == "alive\n"
    assert run("dog.rest(); time.sleep(2)").stdout == "alive\n"
