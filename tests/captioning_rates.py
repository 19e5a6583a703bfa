"""Images a second of several ways of captioning, in turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np

_IMAGES = 32

Way = Callable[[], int]
"""Captions some images; returns how many."""


def photographs(folder: Path) -> list[Path]:
    """The first 32 JPEG files of a folder."""
    files = sorted(folder.glob("*.jpg"))[:_IMAGES]
    if not files:
        raise click.UsageError(f"{folder}: no .jpg files here")
    return files


def print_rates(ways: Mapping[str, Way], repeats: int) -> None:
    """Print the median of so many rounds, behind one that compiles and warms up."""
    rounds = [{name: _rate(way) for name, way in ways.items()} for _ in range(repeats + 1)]
    for name in ways:
        click.echo(f"{name:<18} {np.median([rates[name] for rates in rounds[1:]]):8.2f} images/s")


def _rate(way: Way) -> float:
    begun_s = time.perf_counter()
    return way() / (time.perf_counter() - begun_s)
