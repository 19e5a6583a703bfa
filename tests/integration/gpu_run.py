"""Runs on a cluster that says it has a GPU: `python -m tests.integration.gpu_run IN OUT GPUS:DECODERS...`, per actor.

In a process of its own, since a process that has been connected to one Ray keeps what it needs to talk to that one.
Prints the workers that there were, a line a run; the captioner is the fake one, which needs no GPU.
"""

from __future__ import annotations

import io
import sys

from ray.cluster_utils import Cluster

from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.pool_size import ActorClaim
from tests.fake_captioner import FakeLoader, fake_spec


def main() -> None:
    """A head of four CPUs and one logical GPU."""
    source, output, *claims = sys.argv[1:]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    try:
        for number, claim in enumerate(claims):
            gpus, decoders = claim.split(":")
            run(source, f"{output}-{number}", ActorClaim(1, float(gpus), int(decoders)), cluster.address)
    finally:
        cluster.shutdown()


def run(source: str, output: str, claim: ActorClaim, address: str) -> None:
    """Caption a folder, and tell how it went."""
    where = ClusterConfig(address, wait_s=1.0)
    config = CaptioningConfig((source,), output, claim=claim, shard_size=2, cluster=where)
    try:
        report = run_captioning(config, fake_spec(FakeLoader(delay_s=0.2)), io.StringIO())
        print("captioned", report.counts.ok, "workers", len(report.tally.rate_by_worker()))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
