"""Actors that claim GPUs: as many as there are GPUs for, and none waits for one for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import write_images
from tests.integration.ray_head import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]


SAID = {
    "0.5:0": "captioned 20 workers 2",
    "1:3": "captioned 20 workers 1",
    "2:0": "UsageError: an actor needs 2 GPUs, and no machine of an existing Ray cluster has them",
}


def test_gpus_bound_the_pool(tmp_path: Path) -> None:
    write_images(tmp_path / "in", 20)
    command = [sys.executable, "-m", "tests.integration.gpu_run", str(tmp_path / "in"), str(tmp_path / "out"), *SAID]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("captioned", "UsageError"))]
    assert lines == list(SAID.values()), done.stdout + done.stderr
