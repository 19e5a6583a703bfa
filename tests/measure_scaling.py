"""How well a run keeps many actors busy: `python -m tests.measure_scaling --actors 64 --nodes 8`.

Logical nodes on this machine, and a captioner that sleeps in place of work: what is measured is the driver, the pool
and Ray. Prints the share of the time from an actor's first shard to the last one's beginning that it was at work, and
of that to the end of all, the time that the last shards took, and the driver's processor time a shard.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import ray
from numpy.typing import NDArray
from PIL import Image
from ray.cluster_utils import Cluster

from caption_core.archive.sources.combined import CombinedSource
from caption_core.captioner import Captioner
from caption_core.engine.actor_pool import caption_shards
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.records import Caption
from caption_core.search import SearchSettings
from compression.benchmark.noop import NoopCaptioner
from compression.benchmark.repeated_images import RepeatedImages
from tests.begun_run import begun_run

_IMAGES_PER_SHARD = 8
_MEAN_BYTES = 4000
_SEED = 1


class _Sleeper(NoopCaptioner):
    """Sleeps as long as the images' colour says, which is that of their shard."""

    def __init__(self, seconds: NDArray[np.float64]) -> None:
        super().__init__(image_size=(8, 8))
        self._seconds = seconds

    def caption(self, images: NDArray[np.uint8], search: SearchSettings | None = None) -> list[Caption]:
        shards = images[:, 0, 0].astype(int) @ (1, 1 << 8, 1 << 16)
        time.sleep(float(self._seconds[shards % len(self._seconds)].sum()) / _IMAGES_PER_SHARD)
        return super().caption(images, search)


@dataclass(frozen=True)
class _Loader:
    seconds: NDArray[np.float64]

    def __call__(self, threads: int) -> Captioner:  # noqa: ARG002
        return _Sleeper(self.seconds)


@contextmanager
def _nodes(number: int, cpus: int) -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(number):
        cluster.add_node(num_cpus=cpus)
    ray.init(address=cluster.address, logging_level=logging.ERROR)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def _costs(shards: int, shard_s: float, skew: float) -> NDArray[np.float64]:
    """Seconds of each shard, (shards,); their mean is the same whatever the skew."""
    factors = np.random.default_rng(_SEED).lognormal(0, skew, shards)
    return np.asarray(shard_s * factors / factors.mean(), np.float64)


def _sizes(costs: NDArray[np.float64], error: float | None) -> list[int]:
    """Bytes of each shard's images: in proportion to its costs but for a random factor, or the same for all."""
    if error is None:
        return [_MEAN_BYTES] * len(costs)
    factors = np.random.default_rng(_SEED + 1).lognormal(0, error, len(costs))
    return [int(size) for size in _MEAN_BYTES * factors * costs / costs.mean()]


def _images(folder: Path, sizes: Sequence[int]) -> RepeatedImages:
    """A shard's images are one, of a colour of its own, as often as a shard has images."""
    folder.mkdir()
    for shard, size in enumerate(sizes):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (shard & 255, shard >> 8 & 255, shard >> 16)).save(file, "PNG")
        (folder / f"{shard:06d}.png").write_bytes(file.getvalue().ljust(size, b"\0"))
    once = RepeatedImages.of(folder, len(sizes), in_memory=True)
    refs = tuple(ref for ref in once.refs for _ in range(_IMAGES_PER_SHARD))
    return replace(once, refs=refs, num_images=len(refs))


def _work(folder: Path, costs: NDArray[np.float64], size_error: float | None) -> tuple[CaptioningWork, Sequence[int]]:
    images = folder / "images"
    source = CombinedSource((("images", _images(images, _sizes(costs, size_error))),))
    captioner = CaptionerSpec(_Sleeper(costs).model_id, SearchSettings(beam_width=1), _Loader(costs))
    config = CaptioningConfig(
        (str(images),), str(folder / "out"), shard_size=_IMAGES_PER_SHARD, batch_size=_IMAGES_PER_SHARD
    )
    return begun_run(config, captioner, source)


def _run(work: CaptioningWork, shards: Sequence[int], actors: int) -> tuple[list[ShardSummary], float]:
    """Summaries, and this process's processor time from the first one on."""
    begun_s, summaries = 0.0, list[ShardSummary]()
    for summary in caption_shards(shards, work, actors, {}):
        if not summaries:
            begun_s = time.process_time()
        summaries.append(summary)
    return summaries, time.process_time() - begun_s


def _tell(summaries: Sequence[ShardSummary], driver_s: float) -> None:
    first: dict[str, float] = {}
    for one in summaries:
        first[one.worker] = min(one.started_s, first.get(one.worker, one.started_s))
    queue_empty_s = max(one.started_s for one in summaries)
    end_s = max(one.finished_s for one in summaries)
    busy_s = sum(min(one.finished_s, queue_empty_s) - one.started_s for one in summaries)
    there_s = sum(queue_empty_s - first[worker] for worker in first if first[worker] < queue_empty_s)
    mean_s = float(np.mean([one.finished_s - one.started_s for one in summaries]))
    print(f"{len(first)} actors, {len(summaries):,} shards of {mean_s:.2f} s on average")
    print(f"utilization until the last shard began: {100 * busy_s / there_s:.1f} %")
    all_busy_s = sum(one.finished_s - one.started_s for one in summaries)
    print(f"utilization until the end: {100 * all_busy_s / sum(end_s - begun_s for begun_s in first.values()):.1f} %")
    print(f"the last shards: {end_s - queue_empty_s:.1f} s")
    print(f"driver: {1000 * driver_s / len(summaries):.2f} ms of processor time a shard")


@click.command()
@click.option("--actors", default=64)
@click.option("--nodes", default=8)
@click.option("--shard-s", default=2.0, help="Seconds a shard on average.")
@click.option("--shards-per-actor", default=20)
@click.option("--skew", default=0.0, help="Of the shards' costs: sigma of a log-normal distribution.")
@click.option(
    "--size-error",
    type=float,
    help="Let the images' bytes be in proportion to their costs, but for a log-normal factor of this sigma. Without it "
    "all are of one size.",
)
@click.option("--late-nodes", default=0, help="Nodes that join later.")
@click.option("--late-after-s", default=20.0)
def main(
    actors: int,
    nodes: int,
    shard_s: float,
    shards_per_actor: int,
    skew: float,
    size_error: float | None,
    late_nodes: int,
    late_after_s: float,
) -> None:
    """Run shards on logical nodes."""
    with tempfile.TemporaryDirectory() as folder:
        work, shards = _work(Path(folder), _costs(actors * shards_per_actor, shard_s, skew), size_error)
        cpus = -(-actors // nodes)
        # The run is in a thread, since only the main one can add nodes.
        with _nodes(nodes - late_nodes, cpus) as cluster, ThreadPoolExecutor(1) as driver:
            run = driver.submit(_run, work, shards, actors)
            if late_nodes:
                time.sleep(late_after_s)
            for _ in range(late_nodes):
                cluster.add_node(num_cpus=cpus)
            _tell(*run.result())


if __name__ == "__main__":
    main()
