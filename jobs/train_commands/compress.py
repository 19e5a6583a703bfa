"""`compress`: a float bundle to a LiteRT bundle."""

from __future__ import annotations

from pathlib import Path

import click

from caption_core.metrics.split_files import read_split
from jobs.train_commands.arguments import ANY, FILE, FOLDER, recorded_command_line


@click.command()
@click.option("--model", type=FOLDER, required=True, help="Float bundle to compress.")
@click.option("--output", type=ANY, required=True, help="Folder of the compressed bundle.")
@click.option("--calibration-images", type=FOLDER, required=True, help="Folder of training images to calibrate on.")
@click.option("--calibration-split", type=FILE, help="Names of the images to choose from, one a line [default: all].")
@click.option("--calibration-count", default=200, show_default=True, help="How many images to calibrate on.")
@click.option("--seed", default=1, show_default=True, help="Decides which images these are.")
def compress(
    model: Path,
    output: Path,
    calibration_images: Path,
    calibration_split: Path | None,
    calibration_count: int,
    seed: int,
) -> None:
    """Quantize a float bundle to int8 for the LiteRT runtime."""
    from compression.quantize import QuantizeConfig, image_files, quantize_bundle

    names = read_split(calibration_split) if calibration_split else None
    files = image_files(calibration_images, names)
    bundle = quantize_bundle(
        QuantizeConfig(model, output, files, seed, calibration_count), command=recorded_command_line()
    )
    click.echo(f"wrote {bundle.folder}: {bundle.model_id}, {bundle.num_bytes() / 1e6:.2f} MB")
