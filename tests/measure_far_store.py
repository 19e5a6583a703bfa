"""What a store far away costs an actor: `python -m tests.measure_far_store --round-trip-ms 50`.

Captions images of an S3 server on this machine, behind a proxy that lets each request wait, into the same store, by a
captioner that does nothing: what is measured is reading and the bookkeeping of shards, without Ray. Prints images a
second with this number of images a shard, and for each shard the time and the requests beside those for images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.shard_captioner import ShardCaptioner
from compression.benchmark.noop import noop_captioner
from tests.begun_run import begun_run
from tests.far_store import Request, far_store
from tests.s3_server import s3_server


def _shards_s(captioner: ShardCaptioner, shard_ids: Sequence[int]) -> list[float]:
    seconds = list[float]()
    for shard_id in shard_ids:
        begun_s = time.perf_counter()
        captioner.caption_shard(shard_id)
        seconds.append(time.perf_counter() - begun_s)
    return seconds


def _tell(shard_size: int, seconds: Sequence[float], requests: Sequence[Request]) -> None:
    books = [request for request in requests if "/in/" not in request.path]
    median_s = float(np.median(seconds))
    print(f"{shard_size} images a shard: {median_s:.2f} s, {shard_size / median_s:.0f} images/s")
    print(f"requests a shard, but for those for images: {len(books) / len(seconds):.1f}")
    print(f"requests an image: {(len(requests) - len(books)) / shard_size / len(seconds):.1f}")


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--round-trip-ms", default=50.0, show_default=True)
@click.option("--shard-sizes", multiple=True, type=int, default=(64, 256), show_default=True)
@click.option("--shards", type=click.IntRange(2), default=4, show_default=True, help="The first is not timed.")
def main(images: Path, round_trip_ms: float, shard_sizes: tuple[int, ...], shards: int) -> None:
    """Caption the images of a folder, under new names, from a store far away."""
    files = sorted(path for path in images.iterdir() if path.is_file())
    with s3_server() as server:
        for size in shard_sizes:
            bucket = server.new_bucket()
            for number in range(size * shards):
                file = files[number % len(files)]
                bucket.put(f"in/{number:06d}{file.suffix}", file.read_bytes())
            with far_store(bucket) as store:
                config = CaptioningConfig((f"{bucket.address}/in",), f"{bucket.address}/out", shard_size=size)
                work, shard_ids = begun_run(config, noop_captioner())
                captioner = ShardCaptioner(work)
                captioner.caption_shard(shard_ids[0])  # which opens the plan
                store.requests.clear()
                store.round_trip_s = round_trip_ms / 1000
                _tell(size, _shards_s(captioner, shard_ids[1:]), store.requests)


if __name__ == "__main__":
    main()
