"""Starts the worker that measures a captioner in a process of its own, and takes its reply."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caption_core.errors import CapstanError

_WORKER = "compression.measuring.worker"
_ROOT = Path(__file__).resolve().parents[2]
_SAMPLES = _ROOT / "caption_core" / "assets" / "photographs"


def measure_afresh(
    task: str, bundle: Path, *, threads: int, files: Sequence[Path], slot: int = 0, **request: Any
) -> Any:
    """Let a fresh process measure a captioner.

    Args:
        task: a task of `worker`.
        bundle: the captioner.
        threads: that its runtime may use; the process keeps to as many cores.
        files: images to caption; empty takes the sample photographs.
        slot: among processes that measure at the same time, each on cores of its own, of which there must be enough.
        request: what else the task is told.

    Returns:
        The task's result.

    Raises:
        CapstanError: the captioner can't be measured; the message names it and the cause.
    """
    images = [str(file.resolve()) for file in files or sorted(_SAMPLES.glob("*.jpg"))]
    asked = {"task": task, "bundle": str(bundle.resolve()), "threads": threads, "slot": slot}
    asked |= {"files": images, **request}
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", _WORKER]
        done = subprocess.run(
            command, input=json.dumps(asked).encode(), stdout=subprocess.PIPE, stderr=log, env=_environment()
        )
        reply = json.loads(done.stdout) if done.returncode == 0 else {"error": _cause(bundle, done.returncode, log)}
    if "error" in reply:
        raise CapstanError(reply["error"])
    return reply["result"]


def _environment() -> dict[str, str]:
    """The process's own: this project importable from any folder, and no GPU, for threads and cores are measured."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}


def _cause(bundle: Path, code: int, log: Any) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{bundle}: the process that measured it {ended}{f': {lines[-1]}' if lines else ''}"
