"""Train captioners, compress them, measure them: `python jobs/train_compress.py --help`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs as it is

from caption_core.training.config import (
    DataConfig,
    DecoderSizes,
    OptimizationConfig,
    StageConfig,
    TrainConfig,
)
from caption_core.training.dataset import read_split
from jobs.command_line import run_command

# Resolved, because workers run in folders of their own.
_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
_ANY = click.Path(resolve_path=True, path_type=Path)


@click.group()
def main() -> None:
    """Train captioners, compress them and measure what that cost and gained."""


@main.command()
@click.option("--images", type=_FOLDER, required=True, help="Folder of the training and dev images.")
@click.option("--captions", type=_FILE, required=True, help="Kaggle captions.txt or original Flickr8k.token.txt.")
@click.option("--train-split", type=_FILE, required=True, help="Names of the training images, one a line.")
@click.option("--dev-split", type=_FILE, required=True, help="Names of the dev images, one a line.")
@click.option("--output", type=_ANY, required=True, help="Folder of the run: checkpoints and the finished bundle.")
@click.option("--cache", type=_ANY, help="Folder of cached encoder features [default: OUTPUT/cache].")
@click.option("--name", default="captioner", show_default=True, help="Name of the bundle.")
@click.option("--trained-on", default="an unnamed data set", show_default=True, help="Data set, for the model card.")
@click.option("--note", "notes", multiple=True, help="PART=TEXT for the model card: what a part derives from; licence.")
@click.option("--encoder", default="mobilenet_v2", show_default=True, help="Encoder architecture.")
@click.option("--encoder-weights", default="imagenet", show_default=True, help="'imagenet' (downloaded), 'random' or a file.")
@click.option("--epochs", default=15, show_default=True, help="Epochs with the encoder frozen.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak rate of these epochs.")
@click.option("--fine-tune-from", help="First encoder layer that trains in a second stage, e.g. block_13_expand.")
@click.option("--fine-tune-epochs", default=5, show_default=True, help="Epochs of the second stage.")
@click.option("--fine-tune-learning-rate", default=1e-4, show_default=True, help="Peak rate of the second stage.")
@click.option("--batch-images", default=32, show_default=True, help="Images an update, over all workers.")
@click.option("--units", default=512, show_default=True, help="LSTM units.")
@click.option("--embedding-units", default=256, show_default=True, help="Word embedding size.")
@click.option("--value-units", default=512, show_default=True, help="Size that image features are projected to.")
@click.option("--attention-units", default=256, show_default=True, help="Size of the attention's hidden layer.")
@click.option("--min-word-count", default=5, show_default=True, help="Rarer words become the unknown token.")
@click.option("--max-tokens", default=20, show_default=True, help="Longest caption in words; longer ones are cut.")
@click.option("--mirror/--no-mirror", default=True, show_default=True, help="Train on mirrored images too.")
@click.option("--limit-images", type=int, help="Train and select on the first images of each split only.")
@click.option("--seed", default=1, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Ray Train workers.")
@click.option("--cpus-per-worker", type=float, help="CPUs of a worker [default: an even share of the cluster].")
@click.option("--address", help="Ray cluster to connect to [default: start a local one].")
def train(address: str | None, **options: Any) -> None:
    """Train an encoder and an attention LSTM decoder, and write the float bundle OUTPUT/bundle."""
    from caption_core.training.session import run_training

    bundle = run_training(_train_config(**options), address=address, command=_command_line())
    click.echo(f"wrote {bundle.folder}: {bundle.model_id}, {bundle.num_bytes() / 1e6:.1f} MB")


@main.command()
@click.option("--model", type=_FOLDER, required=True, help="Float bundle to compress.")
@click.option("--output", type=_ANY, required=True, help="Folder of the compressed bundle.")
@click.option("--calibration-images", type=_FOLDER, required=True, help="Folder of training images to calibrate on.")
@click.option("--calibration-split", type=_FILE, help="Names of the images to choose from, one a line [default: all].")
@click.option("--calibration-count", default=200, show_default=True, help="How many images to calibrate on.")
@click.option("--seed", default=1, show_default=True, help="Decides which images these are.")
def compress(
    model: Path, output: Path, calibration_images: Path, calibration_split: Path | None, calibration_count: int, seed: int
) -> None:
    """Quantize a float bundle to int8 for the LiteRT runtime."""
    from compression.quantize import QuantizeConfig, image_files, quantize_bundle

    names = read_split(calibration_split) if calibration_split else None
    files = image_files(calibration_images, names)
    bundle = quantize_bundle(QuantizeConfig(model, output, files, seed, calibration_count), command=_command_line())
    click.echo(f"wrote {bundle.folder}: {bundle.model_id}, {bundle.num_bytes() / 1e6:.2f} MB")


def _command_line() -> str:
    """This process' command line, for a bundle's provenance: folders of this machine are left out of it."""
    return "python jobs/train_compress.py " + shlex.join(word.rsplit("/", 1)[-1] for word in sys.argv[1:])


def _encoder_weights(value: str) -> str | None:
    if value == "random":
        return None
    return value if value == "imagenet" else str(Path(value).resolve())


def _notes(pairs: tuple[str, ...]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if wrong := [part for part, mark, text in split if not mark or not text]:
        raise click.BadParameter(f"--note takes PART=TEXT, not {wrong[0]!r}")
    return {part: text for part, _, text in split}


def _train_config(**o: Any) -> TrainConfig:
    stages = [StageConfig(o["epochs"], o["learning_rate"])]
    if o["fine_tune_from"]:
        stages.append(StageConfig(o["fine_tune_epochs"], o["fine_tune_learning_rate"], o["fine_tune_from"]))
    return TrainConfig(
        data=DataConfig(
            images=o["images"],
            captions=o["captions"],
            train_split=o["train_split"],
            dev_split=o["dev_split"],
            cache=o["cache"] or o["output"] / "cache",
            min_word_count=o["min_word_count"],
            max_tokens=o["max_tokens"],
            mirror=o["mirror"],
            limit_images=o["limit_images"],
        ),
        output=o["output"],
        stages=tuple(stages),
        encoder=o["encoder"],
        encoder_weights=_encoder_weights(o["encoder_weights"]),
        decoder=DecoderSizes(o["units"], o["embedding_units"], o["value_units"], o["attention_units"]),
        optimization=OptimizationConfig(batch_images=o["batch_images"], seed=o["seed"]),
        name=o["name"],
        trained_on=o["trained_on"],
        notes=_notes(o["notes"]),
        workers=o["workers"],
        cpus_per_worker=o["cpus_per_worker"],
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
