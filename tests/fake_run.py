"""The captioning job with the fake captioner, as a process that tests can kill: `python -m tests.fake_run IN OUT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.interruption import Interrupted, interruptible
from jobs.command_line import run_command
from tests.fake_captioner import FakeLoader, fake_spec


@click.command()
@click.argument("source")
@click.argument("output")
@click.option("--shard-size", type=int, default=8)
@click.option("--stalls", is_flag=True)
@click.option("--cpus", type=int)
@click.option("--address")
@click.option("--delay-s", type=float, default=0.0)
@click.option("--calls", type=Path)
@click.option("--seen", type=Path)
@click.option("--full-after", type=int)
def main(source: str, output: str, shard_size: int, cpus: int | None, address: str | None, **loading: Any) -> int:
    """Caption an archive."""
    config = CaptioningConfig((source,), output, shard_size=shard_size, cluster=_cluster(cpus, address))
    try:
        with interruptible():
            report = run_captioning(config, fake_spec(FakeLoader(**loading)))
    except Interrupted as interruption:
        return interruption.exit_code
    click.echo("\n".join(report.lines()))
    return 0


def _cluster(cpus: int | None, address: str | None) -> ClusterConfig:
    return ClusterConfig(address) if address else ClusterConfig(cpus=cpus or 2)


if __name__ == "__main__":
    sys.exit(run_command(main))
