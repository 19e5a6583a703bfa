"""Faults, done for real to a run on a Ray cluster of several nodes, and what must be true afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from caption_core.archive.parts import list_parts, read_footer
from caption_core.archive.storage import Storage
from tests.builders import Colour, written
from tests.fake_captioner import expected_caption
from tests.integration.ray_head import clean_environment, kill_session

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES = 240
SHARD_SIZE = 8
NUM_SHARDS = NUM_IMAGES // SHARD_SIZE
_DELAY_S = 0.015  # an image: a run takes some seconds, so that there are moments to strike at
_WAIT_S = 200


class Nodes:
    """A cluster of a head without CPUs and two worker nodes of one CPU each, in processes of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer("address ")

    def lose_one(self, chance: random.Random) -> None:
        """Kill a worker node with everything on it; another one takes its place."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{chance.randrange(2)}\n")
        self._process.stdin.flush()
        self._answer("replaced")

    def _answer(self, prefix: str) -> str:
        """The rest of the next line that begins so; Ray prints others."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(prefix):
                return line[len(prefix) :].strip()
        raise RuntimeError("the cluster's process ended")


@contextmanager
def running_nodes() -> Iterator[Nodes]:
    """Nodes whose workers import from this checkout."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.ray_nodes"],
        cwd=ROOT,
        env=clean_environment() | {"RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield Nodes(process)
    finally:
        kill_session(process.pid)
        process.wait()


@dataclass(frozen=True)
class Place:
    """The files of one run."""

    root: Path
    source: Path
    colours: dict[str, Colour]  # of the images in source, by id

    @property
    def output(self) -> Path:
        return self.root / "out"

    @property
    def storage(self) -> Storage:
        return Storage.at(self.output)

    @property
    def workers(self) -> Path:
        return self.root / "workers"

    @property
    def seen(self) -> Path:
        return self.root / "seen"

    def commits(self) -> dict[int, tuple[int, int]]:
        """Which file stands for each finished shard, and when it was written; each is whole."""
        found = list_parts(self.storage)
        for name in found.values():
            read_footer(self.storage, name)
        return {shard_id: written(self.output / name) for shard_id, name in found.items()}

    def num_seen(self) -> int:
        """Images that captioners were given so far, once or again."""
        return self.seen.stat().st_size if self.seen.exists() else 0


@dataclass(frozen=True)
class Outcome:
    """What a fault did to a run.

    Attributes:
        fault: which.
        struck_after: parts that were committed when it struck.
        exit_code: of the run that was struck.
        committed: parts when that run had ended.
        seen_twice: images that were captioned more than once until all was done.
        lost_workers: processes that the fault took.
    """

    fault: str
    struck_after: int
    exit_code: int
    committed: int
    seen_twice: int
    lost_workers: int


class Strike:
    """A fault in the making: strikes a run when some of its shards are committed."""

    def __init__(self, nodes: Nodes, place: Place, chance: random.Random) -> None:
        self.nodes, self.place, self.chance = nodes, place, chance
        self.options: list[str] = []
        self.lost_workers = 0

    def kill_actor(self, _driver: subprocess.Popen[str]) -> None:
        alive = [pid for pid in self._workers() if Path(f"/proc/{pid}").exists()]
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(alive), signal.SIGKILL)
        self.lost_workers = 1

    def remove_node(self, _driver: subprocess.Popen[str]) -> None:
        self.nodes.lose_one(self.chance)
        self.lost_workers = 1

    def kill_driver(self, driver: subprocess.Popen[str]) -> None:
        driver.kill()
        self.lost_workers = 2

    def fill_disk(self, _driver: subprocess.Popen[str]) -> None:
        """Nothing: the workers' file system refuses by itself."""

    def _workers(self) -> list[int]:
        return [int(line.split()[0]) for line in self.place.workers.read_text().splitlines()]


FAULTS: dict[str, Callable[[Strike, subprocess.Popen[str]], None]] = {
    "kill an actor": Strike.kill_actor,
    "remove a node": Strike.remove_node,
    "kill the driver": Strike.kill_driver,
    "fill the disk": Strike.fill_disk,
}


def try_fault(nodes: Nodes, place: Place, fault: str, seed: int) -> Outcome:
    """Strike a run at a random moment, let it end, resume it, and check that nothing is lost, twice or half there."""
    chance = random.Random(seed)
    strike_after = chance.randrange(1, NUM_SHARDS - 5)
    options = [f"--full-after={chance.randrange(1, NUM_SHARDS // 3)}"] if fault == "fill the disk" else []
    strike = Strike(nodes, place, chance)
    driver = _start(nodes, place, *options)
    try:
        if not options:
            _wait_for_parts(driver, place, strike_after)
            FAULTS[fault](strike, driver)
        driver.communicate(timeout=_WAIT_S)
    finally:
        driver.kill()
        driver.wait()
    struck_exit_code, before = driver.returncode, place.commits()
    _resume(nodes, place)
    after = place.commits()
    assert {shard_id: after[shard_id] for shard_id in before} == before, "no finished shard is done again"
    _check_whole(place)
    seen_twice = place.num_seen() - NUM_IMAGES - len(place.workers.read_text().splitlines())
    if strike.lost_workers:
        assert seen_twice <= SHARD_SIZE * strike.lost_workers, "a lost worker costs at most the shard it was at"
    return Outcome(fault, strike_after, struck_exit_code, len(before), seen_twice, strike.lost_workers)


def _start(nodes: Nodes, place: Place, *options: str) -> subprocess.Popen[str]:
    arguments = [f"--address={nodes.address}", f"--shard-size={SHARD_SIZE}", f"--delay-s={_DELAY_S}"]
    notes = [f"--calls={place.workers}", f"--seen={place.seen}"]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fake_run", str(place.source), str(place.output), *arguments, *notes, *options],
        cwd=ROOT,
        env=clean_environment() | {"RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for_parts(driver: subprocess.Popen[str], place: Place, number: int) -> None:
    end_s = time.monotonic() + _WAIT_S
    while len(list_parts(place.storage)) < number:
        assert driver.poll() is None, f"it ended too early: {driver.communicate()[0]}"
        assert time.monotonic() < end_s
        time.sleep(0.02)


def _resume(nodes: Nodes, place: Place) -> None:
    """Start it again, at once; until the workers of a killed run are gone a try may have to wait for CPUs."""
    driver = _start(nodes, place)
    said, _ = driver.communicate(timeout=_WAIT_S)
    assert driver.returncode == 0, said


def _check_whole(place: Place) -> None:
    rows = ds.dataset(place.output, format="parquet").to_table().to_pylist()
    captions = {row["image_id"]: row["caption"] for row in rows}
    assert len(captions) == len(rows) == NUM_IMAGES, "no row twice, none lost"
    assert captions == {name: expected_caption(colour) for name, colour in place.colours.items()}
    left = {path.name for path in place.output.iterdir()} - set(list_parts(place.storage).values())
    assert left == {"_SUCCESS", "_report", "_run", ".huggingface.yaml"}, "no leftover that a reader would pick up"
