"""`train`: a data set to a float bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from caption_core.models.architectures import ENCODERS, EncoderConfig
from caption_core.models.decoder_registry import DECODERS
from caption_core.training.config import (
    TRAINING_PRECISIONS,
    DecoderChoice,
    OptimizationConfig,
    StageConfig,
    TrainConfig,
)
from jobs.train_commands import training_data
from jobs.train_commands.arguments import FOLDER, OUTPUT, recorded_command_line
from jobs.train_commands.training_data import data_config


@click.command()
@click.option("--images", type=FOLDER, required=True, help="Folder of the training and dev images.")
@click.option(
    "--captions",
    multiple=True,
    required=True,
    help="Flickr tokens, Kaggle CSV, COCO annotations, Karpathy JSON or Parquet; several add up.",
)
@click.option(
    "--train-split",
    default="train",
    show_default=True,
    help="File of names, one a line, or a split that --splits names; train+restval is both of two.",
)
@click.option("--dev-split", default="val", show_default=True, help="Images that epochs are chosen by; likewise.")
@training_data.SPLITS
@training_data.SKIP_MISSING
@click.option("--output", type=OUTPUT, required=True, help="Folder of the run: checkpoints and the finished bundle.")
@training_data.CACHE
@click.option("--name", default="captioner", show_default=True, help="Name of the bundle.")
@click.option("--trained-on", default="an unnamed data set", show_default=True, help="Data set, for the model card.")
@click.option("--note", "notes", multiple=True, help="PART=TEXT for the model card: what a part derives from; licence.")
@click.option("--encoder", default="mobilenet_v2", show_default=True, help=f"One of {', '.join(sorted(ENCODERS))}.")
@click.option(
    "--encoder-features", default="grid", show_default=True, help="'grid' of vectors, or one 'global' vector."
)
@click.option("--encoder-width", default=1.0, show_default=True, help="Multiplier of a MobileNet's channels.")
@click.option(
    "--encoder-image-size", type=int, help="Side of the square images in pixels [default: the encoder's own]."
)
@click.option(
    "--encoder-weights", default="imagenet", show_default=True, help="'imagenet' (downloaded), 'random' or a file."
)
@click.option("--concepts-from", help="Encoder block that a stage before all others trains from, on words as labels.")
@click.option("--concept-epochs", default=4, show_default=True, help="Epochs of that stage.")
@click.option("--concept-learning-rate", default=1e-4, show_default=True, help="Peak rate of these epochs.")
@click.option("--epochs", default=15, show_default=True, help="Epochs with the encoder frozen.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak rate of these epochs.")
@click.option("--fine-tune-from", help="Encoder block that a further stage trains from, e.g. block_13.")
@click.option("--fine-tune-epochs", default=5, show_default=True, help="Epochs of that stage.")
@click.option("--fine-tune-learning-rate", default=1e-4, show_default=True, help="Peak rate of these epochs.")
@click.option("--self-critical-epochs", default=0, show_default=True, help="Epochs of training on CIDEr-D, at the end.")
@click.option("--self-critical-learning-rate", default=5e-5, show_default=True, help="Peak rate of these epochs.")
@click.option("--patience", type=int, help="Epochs without a better dev score that end a stage [default: none do].")
@click.option("--min-improvement", default=0.0, show_default=True, help="Rise of the dev score that counts as better.")
@click.option("--initial", type=FOLDER, help="Float bundle to go on from; --epochs 0 goes straight to later stages.")
@click.option("--batch-images", default=32, show_default=True, help="Images an update, over all workers.")
@click.option("--accumulate", default=1, show_default=True, help="Parts of a worker's share: less memory, same update.")
@click.option(
    "--precision",
    type=click.Choice(TRAINING_PRECISIONS),
    default="float32",
    show_default=True,
    help="Of activations.",
)
@click.option("--decoder", default="soft_attention", show_default=True, help=f"One of {', '.join(sorted(DECODERS))}.")
@click.option("--units", type=int, help="LSTM units [default of this and what follows: the decoder's own].")
@click.option("--embedding-units", type=int, help="Word embedding size.")
@click.option("--value-units", type=int, help="Size that image features are projected to.")
@click.option("--attention-units", type=int, help="Size of the attention's hidden layer.")
@click.option(
    "--dropout", type=(float, float, float), metavar="FEATURES EMBEDDING OUTPUT", help="Dropout rates while training."
)
@click.option(
    "--decoder-setting", "settings", multiple=True, help="NAME=VALUE of a decoder's own, e.g. cell=gru or heads=4."
)
@click.option("--label-smoothing", default=0.1, show_default=True, help="Share of the target spread over all words.")
@click.option("--ema-decay", default=0.998, show_default=True, help="Decay an update of the averaged weights.")
@click.option("--min-word-count", default=5, show_default=True, help="Rarer words become the unknown token.")
@training_data.MAX_TOKENS
@training_data.VIEWS
@training_data.LIMIT_IMAGES
@click.option("--seed", default=1, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Ray Train workers.")
@click.option("--cpus-per-worker", type=float, help="CPUs of a worker [default: an even share of the cluster].")
@click.option("--address", help="Ray cluster to connect to [default: start a local one].")
def train(address: str | None, **options: Any) -> None:
    """Train an encoder and a decoder, and write the float bundle OUTPUT/bundle."""
    _refuse_idle_options(click.get_current_context())
    from caption_core.training.session import run_training

    bundle = run_training(_train_config(**options), address=address, command=recorded_command_line(), tell=click.echo)
    click.echo(f"wrote {bundle.folder}: {bundle.model_id}, {bundle.num_bytes() / 1e6:.1f} MB")


# Options that say nothing where another one is not given.
_NEEDS = {
    "concept_epochs": "concepts_from",
    "concept_learning_rate": "concepts_from",
    "fine_tune_epochs": "fine_tune_from",
    "fine_tune_learning_rate": "fine_tune_from",
    "self_critical_learning_rate": "self_critical_epochs",
    "min_improvement": "patience",
}
# Options that say nothing where another one is given.
_EXCLUDES = {"min_word_count": "initial"}


def _refuse_idle_options(context: click.Context) -> None:
    def given(name: str) -> bool:
        return context.get_parameter_source(name) is not ParameterSource.DEFAULT

    for name, needed in _NEEDS.items():
        if given(name) and not context.params[needed]:
            raise click.UsageError(f"{_option(name)} says nothing without {_option(needed)}")
    for name, excluding in _EXCLUDES.items():
        if given(name) and context.params[excluding]:
            raise click.UsageError(f"{_option(name)} says nothing beside {_option(excluding)}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _encoder(o: dict[str, Any]) -> EncoderConfig:
    side = o["encoder_image_size"]
    return EncoderConfig(
        o["encoder"], o["encoder_features"], o["encoder_width"], None if side is None else (side, side)
    )


def _decoder_settings(o: dict[str, Any]) -> dict[str, Any]:
    sizes = {name: o[name] for name in ("units", "embedding_units", "value_units", "attention_units")}
    rates = zip(("feature_dropout", "embedding_dropout", "output_dropout"), o["dropout"] or (None,) * 3, strict=True)
    given = {name: value for name, value in (*sizes.items(), *rates) if value is not None}
    settings = {name: _value(text) for name, text in _pairs("--decoder-setting", "NAME", o["settings"]).items()}
    if twice := given.keys() & settings.keys():
        raise click.BadParameter(f"{min(twice)} is given twice, as an option and as a --decoder-setting")
    return given | settings


def _value(text: str) -> int | float | str:
    """A setting as a number where it is one."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _encoder_weights(value: str) -> str | None:
    if value == "random":
        return None
    return value if value == "imagenet" else str(Path(value).resolve())


def _pairs(option: str, what: str, texts: tuple[str, ...]) -> dict[str, str]:
    split = [text.partition("=") for text in texts]
    if wrong := [name for name, mark, value in split if not mark or not value]:
        value = "TEXT" if option == "--note" else "VALUE"
        raise click.BadParameter(f"{option} takes {what}={value}, not {wrong[0]!r}")
    pairs = {name: value for name, _, value in split}
    if len(pairs) < len(split):
        raise click.BadParameter(f"{option} is given twice for one {what}")
    return pairs


def _stages(o: dict[str, Any]) -> tuple[StageConfig, ...]:
    stage = partial(StageConfig, patience=o["patience"], min_improvement=o["min_improvement"])
    stages = []
    if o["concepts_from"]:
        rate = o["concept_learning_rate"]
        stages.append(stage(o["concept_epochs"], rate, o["concepts_from"], objective="concepts"))
    if o["epochs"] or not o["initial"]:
        stages.append(stage(o["epochs"], o["learning_rate"]))
    if o["fine_tune_from"]:
        stages.append(stage(o["fine_tune_epochs"], o["fine_tune_learning_rate"], o["fine_tune_from"]))
    if o["self_critical_epochs"]:
        stages.append(stage(o["self_critical_epochs"], o["self_critical_learning_rate"], objective="self_critical"))
    return tuple(stages)


def _train_config(**o: Any) -> TrainConfig:
    return TrainConfig(
        data=data_config(o, min_word_count=o["min_word_count"]),
        output=o["output"],
        stages=_stages(o),
        encoder=_encoder(o),
        encoder_weights=_encoder_weights(o["encoder_weights"]),
        initial=o["initial"],
        decoder=DecoderChoice(o["decoder"], _decoder_settings(o)),
        optimization=OptimizationConfig(
            batch_images=o["batch_images"],
            label_smoothing=o["label_smoothing"],
            ema_decay=o["ema_decay"],
            seed=o["seed"],
            accumulate=o["accumulate"],
            precision=o["precision"],
        ),
        name=o["name"],
        trained_on=o["trained_on"],
        notes=_pairs("--note", "PART", o["notes"]),
        workers=o["workers"],
        cpus_per_worker=o["cpus_per_worker"],
    )
