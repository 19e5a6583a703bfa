"""Runs struck at seeded random moments: an actor killed, a node removed, the driver killed, the disk full.

`CAPSTAN_FAULT_RUNS=50` tries more of them than a quick check does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import write_images
from tests.integration.faults import FAULTS, NUM_IMAGES, Nodes, Place, running_nodes, try_fault

RUNS = int(os.environ.get("CAPSTAN_FAULT_RUNS", "4"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with running_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int, int]]]:
    folder = tmp_path_factory.mktemp("source")
    return folder, write_images(folder, NUM_IMAGES)


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_that_was_struck_is_resumed(
    nodes: Nodes, source: tuple[Path, dict[str, tuple[int, int, int]]], tmp_path: Path, seed: int
) -> None:
    fault = list(FAULTS)[seed % len(FAULTS)]
    outcome = try_fault(nodes, Place(tmp_path, *source), fault, seed)
    # Ray replaces what was lost, and the run goes on; without a driver, or without space, it ends.
    assert (outcome.exit_code == 0) == (fault in ("kill an actor", "remove a node"))
    print(outcome)
