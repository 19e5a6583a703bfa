"""Caption images into a Parquet dataset on Ray: `python jobs/caption_batch.py --input FOLDER --output FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs as it is

from caption_core.archive.preview import captions_table, first_rows
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE, CaptionerSpec, bundle_captioner
from caption_core.engine.captioning_run import CaptioningConfig, SearchOverrides, run_captioning
from caption_core.engine.cluster import ClusterConfig, is_submitted_job
from caption_core.engine.interruption import Interrupted, interruptible
from caption_core.engine.pool_size import ActorRange
from caption_core.errors import BundleError, UsageError
from caption_core.images import ImageLimits
from jobs.command_line import run_command

_FOLDER = click.Path(path_type=Path)
_LIMITS = ImageLimits()


@click.command(context_settings={"show_default": True})
@click.option("--input", "source", type=_FOLDER, required=True, help="Folder of images, searched recursively.")
@click.option("--output", type=_FOLDER, required=True, help="Folder for the Parquet parts; resumes what is there.")
@click.option("--model", type=_FOLDER, default=DEFAULT_BUNDLE, show_default="the one that comes along", help="Bundle.")
@click.option("--actors", metavar="MIN:MAX", show_default="as many as fit", help="Size of the pool of captioners.")
@click.option("--cpus-per-actor", type=int, default=1, help="CPUs that each captioner claims and uses.")
@click.option("--beam", type=int, show_default="the bundle's", help="Hypotheses kept an image; 1 is greedy search.")
@click.option("--max-tokens", type=int, show_default="the bundle's", help="Longest caption in words.")
@click.option("--length-penalty", type=float, show_default="the bundle's", help="Exponent of the caption's length.")
@click.option("--batch-size", type=int, default=32, help="Images in one call of the captioner.")
@click.option("--shard-size", type=int, show_default="32 to 256, by their number", help="Images a Parquet part.")
@click.option("--max-pixels", type=int, default=_LIMITS.max_pixels, help="Larger images become failed rows.")
@click.option("--max-bytes", type=int, default=_LIMITS.max_bytes, help="Larger files become failed rows.")
@click.option("--follow-links", is_flag=True, help="Read files outside the folder where links lead to them.")
@click.option("--address", show_default="a local Ray", help="Ray cluster to work on: host:port or auto.")
@click.option("--cpus", type=int, show_default="all", help="CPUs of the local Ray.")
@click.option("--wait-s", type=float, default=600, help="How long a joined cluster may take to grow to MIN actors.")
@click.option("--show", type=click.IntRange(0), default=0, help="Print this many captions at the end.")
def main(
    source: Path,
    output: Path,
    model: Path,
    actors: str | None,
    cpus_per_actor: int,
    beam: int | None,
    max_tokens: int | None,
    length_penalty: float | None,
    batch_size: int,
    shard_size: int | None,
    max_pixels: int,
    max_bytes: int,
    follow_links: bool,
    address: str | None,
    cpus: int | None,
    wait_s: float,
    show: int,
) -> int:
    """Caption every image below a folder; a run that was stopped or killed resumes when it is started again."""
    config = CaptioningConfig(
        source=source,
        output=_lasting(output),
        actors=ActorRange.parse(actors) if actors else None,
        cpus_per_actor=cpus_per_actor,
        batch_size=batch_size,
        shard_size=shard_size,
        search=SearchOverrides(beam, max_tokens, length_penalty),
        limits=ImageLimits(max_pixels, max_bytes),
        follow_links=follow_links,
        cluster=ClusterConfig(address, cpus, wait_s),
    )
    try:
        with interruptible():
            report = run_captioning(config, _captioner(model))
    except Interrupted as interruption:
        click.echo("stopped; start it again with the same arguments to resume", err=True)
        return interruption.exit_code
    if show:
        click.echo(captions_table(first_rows(report.output, show)))
    click.echo("\n".join(report.lines()))
    return 0


def _lasting(output: Path) -> Path:
    if is_submitted_job() and not output.is_absolute():
        raise UsageError(
            f"--output {output}: a submitted job works in a temporary copy of the working directory, "
            "which is deleted with all that is in it; give an absolute path that the cluster's machines share"
        )
    return output


def _captioner(model: Path) -> CaptionerSpec:
    try:
        return bundle_captioner(model)
    except BundleError as error:
        raise UsageError(f"--model: {error}") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
