"""Starts the worker that measures a captioner in a process of its own, and takes its reply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compression.child_process import ask_module

_WORKER = "compression.measuring.worker"
_SAMPLES = Path(__file__).resolve().parents[2] / "caption_core" / "assets" / "photographs"


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
    return ask_module(_WORKER, asked, process=f"{bundle}: the process that measured it")
