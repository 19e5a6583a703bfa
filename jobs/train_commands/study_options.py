"""Options that `compress` and `study` share: data, scoring, timing and the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from caption_core.errors import UsageError
from compression.measuring.quality import ScoredSplit
from compression.measuring.timing import Timing
from compression.study import Study
from compression.study_run import StudyConfig, StudyOutcome, run_study
from compression.training_images import TrainingImages
from jobs.train_commands import training_data
from jobs.train_commands.arguments import FOLDER, OUTPUT, recorded_command_line
from jobs.train_commands.training_data import cache_of, data_config, resolved, resolved_file, splits_of

_OPTIONS = (
    click.option("--output", type=OUTPUT, required=True, help="Folder of the run; the same command goes on in it."),
    click.option("--images", type=FOLDER, help="Folder of the images that steps calibrate and train on."),
    click.option("--captions", multiple=True, help="Captions that steps train on, in any form that `train` takes."),
    click.option("--train-split", help="File of the training images' names, or a split that --splits names."),
    click.option("--dev-split", help="Images that a training's epochs are chosen by; likewise."),
    training_data.SPLITS,
    training_data.SKIP_MISSING,
    training_data.CACHE,
    training_data.VIEWS,
    training_data.MAX_TOKENS,
    training_data.LIMIT_IMAGES,
    click.option("--score-split", help="Score every variant on these: a file of names, or a split of the references."),
    click.option("--score-references", help="Their references, one file [default: the first --captions]."),
    click.option("--score-images", type=FOLDER, help="Their folder [default: --images]."),
    click.option("--beam-width", "beam_widths", multiple=True, type=int, default=(1, 3), show_default=True),
    click.option("--time/--no-time", "times", default=True, show_default=True, help="Measure speed, on this machine."),
    click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True, help="Threads to time with."),
    click.option("--time-images", default=256, show_default=True, help="Images that each repeat times."),
    click.option("--time-repeats", default=3, show_default=True, help="Repeats, in which the captioners take turns."),
    click.option("--cpus-per-task", default=1, show_default=True, help="CPUs of a step's process."),
    click.option("--address", help="Ray cluster to connect to [default: start a local one]."),
)


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_and_tell(study: Study, models: Mapping[str, Path], random_weights: tuple[str, ...], o: dict[str, Any]) -> int:
    """Run a study with a command's options; returns the exit code, 1 if a variant failed."""
    config = StudyConfig(
        study=study,
        models=models,
        output=o["output"],
        data=_data(o),
        scored=_scored(o),
        beam_widths=tuple(o["beam_widths"]),
        timing=_timing(o),
        random_weights=random_weights,
        cpus_per_task=o["cpus_per_task"],
        command=recorded_command_line(),
    )
    outcome = run_study(config, address=o["address"], tell=click.echo)
    _tell(outcome)
    return 1 if outcome.failed else 0


def _tell(outcome: StudyOutcome) -> None:
    for name, cause in outcome.failed.items():
        click.echo(f"error: {name}: {cause}", err=True)
    for name, folder in outcome.made.items():
        click.echo(f"{name}: {folder}")


def _data(o: dict[str, Any]) -> TrainingImages:
    cache = cache_of(o)
    split = resolved_file(o["train_split"]) if o["train_split"] else None
    if o["captions"]:
        if missing := [name for name in ("images", "train_split", "dev_split") if not o[name]]:
            raise UsageError(f"--captions is for training, which needs --{missing[0].replace('_', '-')}, too")
        return TrainingImages(o["images"], split, data_config(o), cache)
    if bool(o["images"]) != bool(o["train_split"]):
        raise UsageError("--images and --train-split go together")
    if not split and (idle := next((name for name in ("splits", "skip_missing") if o[name]), None)):
        raise UsageError(f"--{idle.replace('_', '-')} says nothing without --images and --train-split")
    return TrainingImages(o["images"], split, None, cache, splits_of(o), o["skip_missing"])


def _scored(o: dict[str, Any]) -> ScoredSplit | None:
    if o["score_split"] is None:
        return None
    images = o["score_images"] or o["images"]
    references = o["score_references"] or next(iter(o["captions"]), None)
    if images is None or references is None:
        raise UsageError("--score-split needs --score-images (or --images) and --score-references (or --captions)")
    return ScoredSplit(Path(o["score_split"]).stem, images, resolved(references), resolved_file(o["score_split"]))


def _timing(o: dict[str, Any]) -> Timing | None:
    if not o["times"]:
        return None
    return Timing(
        threads=tuple(o["threads"]),
        beam_widths=tuple(o["beam_widths"]),
        images=o["time_images"],
        repeats=o["time_repeats"],
    )
