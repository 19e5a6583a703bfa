"""Each request to a store far away takes its time: a shard makes few, and its images don't wait for one another."""

from __future__ import annotations

import pyarrow.parquet as pq

from caption_core.archive.parts import part_name
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.shard_captioner import ShardCaptioner
from compression.benchmark.noop import noop_captioner
from tests.begun_run import begun_run
from tests.builders import colour_of, plain
from tests.far_store import far_store
from tests.s3_server import s3_server

ROUND_TRIP_S = 0.5
NUM_IMAGES = 12


def test_a_shard_makes_few_requests_and_its_images_are_read_together() -> None:
    with s3_server() as server:
        for index in range(2 * NUM_IMAGES):
            server.put(f"in/{index:02d}.png", plain(colour_of(index)))
        with far_store(server) as store:
            config = CaptioningConfig((f"{server.address}/in",), f"{server.address}/out", shard_size=NUM_IMAGES)
            work, (first, second) = begun_run(config, noop_captioner())
            captioner = ShardCaptioner(work)
            captioner.caption_shard(first)  # which opens the plan
            store.requests.clear()
            store.round_trip_s = ROUND_TRIP_S
            captioner.caption_shard(second)
            made = list(store.requests)
            assert pq.read_table(work.output.open_input(part_name(second))).num_rows == NUM_IMAGES
    for_images = [request.method for request in made if "/in/" in request.path]
    assert for_images[:NUM_IMAGES] == NUM_IMAGES * ["HEAD"], "no image waits for another one's bytes"
    # Is it done? Was it tried? It is tried now; it is done.
    assert [request.method for request in made if "/in/" not in request.path] == ["HEAD", "HEAD", "PUT", "PUT"]
