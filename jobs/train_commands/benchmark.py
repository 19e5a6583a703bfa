"""`benchmark`: how fast captioning jobs are, and how far that is from what the machine can do."""

from __future__ import annotations

from pathlib import Path

import click

import compression
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE, PRECISIONS
from caption_core.engine.cluster import ClusterConfig
from caption_core.errors import UsageError
from compression.benchmark.config import NOOP, BenchmarkConfig
from jobs.train_commands.arguments import FOLDER, OUTPUT

_SAMPLES = DEFAULT_BUNDLE.parent / "photographs"


@click.command()
@click.option("--output", type=OUTPUT, required=True, help="Folder of the report's files.")
@click.option("--images", type=FOLDER, default=_SAMPLES, help="Images to repeat [default: the sample photographs].")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME=BUNDLE", help=f"A captioner; NAME={NOOP} is one that idles."
)
@click.option("--source", type=click.Choice(["files", "memory"]), default="files", show_default=True)
@click.option("--num-images", default=4096, show_default=True, help="Images a job captions.")
@click.option("--shard-size", default=256, show_default=True, help="Images a Parquet part.")
@click.option("--actors", multiple=True, type=int, default=(1, 2), show_default=True, help="Sizes of the pool.")
@click.option("--batch-size", "batch_sizes", multiple=True, type=int, default=(32,), show_default=True)
@click.option("--beam-width", "beam_widths", multiple=True, type=int, help="[default: each captioner's own]")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    default=("float32",),
    show_default=True,
    help="Of float captioners; others keep their own.",
)
@click.option("--repeats", default=3, show_default=True, help="Rounds, in which all take turns.")
@click.option(
    "--cpus-per-actor",
    multiple=True,
    type=int,
    default=(1,),
    show_default=True,
    help="CPUs that each actor claims and uses; pools that this machine is too small for are left out.",
)
@click.option("--gpus-per-actor", default=0.0, show_default=True, help="GPUs, or a share of one; with --no-stages.")
@click.option("--decoders-per-actor", default=0, show_default=True, help="CPUs of the cluster that decode for each.")
@click.option("--stages/--no-stages", default=True, show_default=True, help="Time stages and a loop by hand, too.")
@click.option("--address", help="Ray cluster to connect to [default: start a local one for each job].")
def benchmark(
    output: Path,
    images: Path,
    variants: tuple[str, ...],
    source: str,
    num_images: int,
    shard_size: int,
    actors: tuple[int, ...],
    batch_sizes: tuple[int, ...],
    beam_widths: tuple[int, ...],
    precisions: tuple[str, ...],
    repeats: int,
    cpus_per_actor: tuple[int, ...],
    gpus_per_actor: float,
    decoders_per_actor: int,
    stages: bool,
    address: str | None,
) -> None:
    """Time captioning jobs over a sweep of captioners, pools, batches and beams.

    The same images are captioned over and over, so that their files come from the system's cache.
    """
    # Imported late: the help of all commands must not wait for it.
    from compression.benchmark.run import run_benchmark

    config = BenchmarkConfig(
        variants=_variants(variants),
        images=images,
        output=output,
        source="memory" if source == "memory" else "files",
        num_images=num_images,
        shard_size=shard_size,
        actors=actors,
        batch_sizes=batch_sizes,
        beam_widths=beam_widths,
        precisions=precisions,
        repeats=repeats,
        cpus_per_actor=cpus_per_actor,
        gpus_per_actor=gpus_per_actor,
        decoders=decoders_per_actor,
        stages=stages,
        cluster=ClusterConfig(address, packages=(Path(compression.__file__).resolve().parent,)),
    )
    for path in run_benchmark(config, tell=click.echo):
        click.echo(path)


def _variants(texts: tuple[str, ...]) -> dict[str, Path | None]:
    if not texts:
        return {"bundled": DEFAULT_BUNDLE}
    found: dict[str, Path | None] = {}
    for text in texts:
        name, equals, bundle = text.partition("=")
        if not (name and equals and bundle):
            raise UsageError(f"--variant {text}: must be NAME=BUNDLE")
        if name in found:
            raise UsageError(f"--variant {text}: there is another {name}")
        found[name] = None if bundle == NOOP else Path(bundle)
    return found
