"""The captioning job with the fake captioner, as a process that tests can kill: `python -m tests.fake_run IN OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from caption_core.engine.captioning_run import CaptioningConfig, run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.interruption import Interrupted, interruptible
from jobs.command_line import run_command
from tests.fake_captioner import FakeLoader, fake_spec


@click.command()
@click.argument("source", type=Path)
@click.argument("output", type=Path)
@click.option("--shard-size", type=int, default=8)
@click.option("--stalls", is_flag=True)
@click.option("--cpus", type=int, default=2)
def main(source: Path, output: Path, shard_size: int, stalls: bool, cpus: int) -> int:
    """Caption a folder."""
    config = CaptioningConfig(source, output, shard_size=shard_size, cluster=ClusterConfig(cpus=cpus))
    try:
        with interruptible():
            report = run_captioning(config, fake_spec(FakeLoader(stalls=stalls)))
    except Interrupted as interruption:
        return interruption.exit_code
    click.echo("\n".join(report.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
