"""Train captioners, compress them, measure them: `python jobs/train_compress.py --help`."""

from __future__ import annotations

import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs as it is

from caption_core.metrics.bootstrap import BootstrapSettings
from caption_core.metrics.evaluation import EvaluateConfig
from caption_core.metrics.pairing import MismatchPolicy, MissingPolicy, PairingPolicy
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
@click.option(
    "--encoder-weights", default="imagenet", show_default=True, help="'imagenet' (downloaded), 'random' or a file."
)
@click.option("--epochs", default=15, show_default=True, help="Epochs with the encoder frozen.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak rate of these epochs.")
@click.option("--fine-tune-from", help="First encoder layer that trains in a second stage, e.g. block_13_expand.")
@click.option("--fine-tune-epochs", default=5, show_default=True, help="Epochs of the second stage.")
@click.option("--fine-tune-learning-rate", default=1e-4, show_default=True, help="Peak rate of the second stage.")
@click.option("--self-critical-epochs", default=0, show_default=True, help="Epochs of training on CIDEr-D, at the end.")
@click.option("--self-critical-learning-rate", default=5e-5, show_default=True, help="Peak rate of these epochs.")
@click.option("--initial", type=_FOLDER, help="Float bundle to go on from; --epochs 0 goes straight to later stages.")
@click.option("--batch-images", default=32, show_default=True, help="Images an update, over all workers.")
@click.option("--units", default=512, show_default=True, help="LSTM units.")
@click.option("--embedding-units", default=256, show_default=True, help="Word embedding size.")
@click.option("--value-units", default=512, show_default=True, help="Size that image features are projected to.")
@click.option("--attention-units", default=256, show_default=True, help="Size of the attention's hidden layer.")
@click.option(
    "--dropout",
    type=(float, float, float),
    default=(0.3, 0.3, 0.5),
    show_default=True,
    metavar="FEATURES EMBEDDING OUTPUT",
    help="Dropout rates while training.",
)
@click.option("--label-smoothing", default=0.1, show_default=True, help="Share of the target spread over all words.")
@click.option("--ema-decay", default=0.998, show_default=True, help="Decay an update of the averaged weights.")
@click.option("--min-word-count", default=5, show_default=True, help="Rarer words become the unknown token.")
@click.option("--max-tokens", default=20, show_default=True, help="Longest caption in words; longer ones are cut.")
@click.option("--views", default=2, show_default=True, help="Views of a training image: as is, mirrored, random crops.")
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
    bundle = quantize_bundle(QuantizeConfig(model, output, files, seed, calibration_count), command=_command_line())
    click.echo(f"wrote {bundle.folder}: {bundle.model_id}, {bundle.num_bytes() / 1e6:.2f} MB")


@main.command()
@click.option("--captions", required=True, help="Parquet of a captioning run (file, folder, URI) or COCO results JSON.")
@click.option(
    "--references", required=True, help="Flickr8k tokens, Kaggle CSV, COCO annotations, Karpathy JSON, Parquet."
)
@click.option("--output", type=_ANY, help="Folder that gets scores.json and images.parquet.")
@click.option("--split", help="Score these images only: a file of names, or a split that a Karpathy JSON names.")
@click.option("--baseline", help="Captions of another captioner for the same images, to compare with.")
@click.option("--by-name", is_flag=True, help="Compare images by file name alone, whatever their folders.")
@click.option(
    "--missing",
    type=click.Choice(["error", "empty", "skip"]),
    default="error",
    show_default=True,
    help="Images with references but no caption: stop, score an empty caption, or leave out.",
)
@click.option(
    "--extra",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Captions without a reference: stop, or leave out.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Further captions of an image: stop, or leave out.",
)
@click.option("--training-captions", help="Captions trained on, in any form of references: tells which ones are novel.")
@click.option("--training-split", help="Split of the training captions.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap draws for the intervals; 0 for none.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--meteor-spice/--no-meteor-spice", default=True, show_default=True, help="METEOR and SPICE, where they run."
)
@click.option(
    "--study-2012-09708", is_flag=True, help="Also the inflated BLEU of that study, to compare with it alone."
)
@click.option("--work-folder", type=_ANY, help="For intermediate files; all machines of a cluster must see it.")
@click.option("--ray/--no-ray", default=None, help="Score on Ray, or here [default: on Ray from 50,000 captions on].")
@click.option("--address", help="Ray cluster to connect to [default: start a local one].")
@click.option("--cpus", type=int, help="CPUs of a local Ray [default: all].")
def evaluate(**options: Any) -> None:
    """Score captions against references: BLEU, ROUGE-L, CIDEr-D, CIDEr, and METEOR and SPICE where they can run."""
    from caption_core.engine.cluster import ClusterConfig
    from caption_core.engine.scoring import evaluate_captions
    from caption_core.metrics.evaluation_report import format_evaluation, write_scores

    config, cluster = _evaluate_config(**options), ClusterConfig(options["address"], options["cpus"])
    evaluation = evaluate_captions(config, cluster, options["ray"], lambda line: click.echo(line, err=True))
    click.echo(format_evaluation(evaluation))
    if config.output:
        click.echo(f"wrote {write_scores(config.output, evaluation)}")


@main.command()
@click.option("--model", type=_FOLDER, required=True, help="Bundle that was measured.")
@click.option("--scores", type=_FILE, required=True, help="The scores.json that `evaluate` wrote.")
@click.option("--protocol", required=True, help='What was measured and how, e.g. "Flickr8k test, beam 3".')
def record(model: Path, scores: Path, protocol: str) -> None:
    """Write measured scores into a bundle's manifest and model card."""
    from caption_core.bundle import record_metrics
    from caption_core.metrics.evaluation_report import read_scores

    bundle = record_metrics(model, protocol, read_scores(scores))
    click.echo(f"recorded in {bundle.folder}: {bundle.model_id}")


def _command_line() -> str:
    """This process' command line, for a bundle's provenance: without this machine's folders, and without notes."""
    words = [word for before, word in pairwise(sys.argv) if "--note" not in (before, word)]
    return "python jobs/train_compress.py " + shlex.join(word.rsplit("/", 1)[-1] for word in words)


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
    stages = [] if o["initial"] and not o["epochs"] else [StageConfig(o["epochs"], o["learning_rate"])]
    if o["fine_tune_from"]:
        stages.append(StageConfig(o["fine_tune_epochs"], o["fine_tune_learning_rate"], o["fine_tune_from"]))
    if o["self_critical_epochs"]:
        rate = o["self_critical_learning_rate"]
        stages.append(StageConfig(o["self_critical_epochs"], rate, self_critical=True))
    return TrainConfig(
        data=DataConfig(
            images=o["images"],
            captions=o["captions"],
            train_split=o["train_split"],
            dev_split=o["dev_split"],
            cache=o["cache"] or o["output"] / "cache",
            min_word_count=o["min_word_count"],
            max_tokens=o["max_tokens"],
            views=o["views"],
            limit_images=o["limit_images"],
        ),
        output=o["output"],
        stages=tuple(stages),
        encoder=o["encoder"],
        encoder_weights=_encoder_weights(o["encoder_weights"]),
        initial=o["initial"],
        decoder=DecoderSizes(o["units"], o["embedding_units"], o["value_units"], o["attention_units"], *o["dropout"]),
        optimization=OptimizationConfig(
            batch_images=o["batch_images"],
            label_smoothing=o["label_smoothing"],
            ema_decay=o["ema_decay"],
            seed=o["seed"],
        ),
        name=o["name"],
        trained_on=o["trained_on"],
        notes=_notes(o["notes"]),
        workers=o["workers"],
        cpus_per_worker=o["cpus_per_worker"],
    )


def _evaluate_config(**o: Any) -> EvaluateConfig:
    return EvaluateConfig(
        captions=o["captions"],
        references=o["references"],
        baseline=o["baseline"],
        output=o["output"],
        split=o["split"],
        by_name=o["by_name"],
        policy=PairingPolicy(MissingPolicy(o["missing"]), MismatchPolicy(o["extra"]), MismatchPolicy(o["duplicates"])),
        bootstrap=BootstrapSettings(o["resamples"], o["confidence"], o["seed"]),
        training_captions=o["training_captions"],
        training_split=o["training_split"],
        optional_metrics=o["meteor_spice"],
        study=o["study_2012_09708"],
        work_folder=o["work_folder"],
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
