"""`study`: a grid of recipes, applied to one or several float bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compression.study import read_study
from jobs.train_commands.arguments import FOLDER
from jobs.train_commands.study_options import run_and_tell, study_options


class _NamedModel(click.ParamType[tuple[str, Path]]):
    """NAME=FOLDER."""

    name = "NAME=BUNDLE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Name and resolved folder."""
        name, mark, folder = value.partition("=")
        if not mark:
            name, folder = "model", value
        return name, FOLDER.convert(folder, param, ctx)


@click.command()
@click.argument("study")
@click.option(
    "--model",
    "models",
    type=_NamedModel(),
    multiple=True,
    required=True,
    help="Float bundle, under the name that the study has for it; a study of one model needs no name.",
)
@click.option(
    "--variant", "variants", multiple=True, help="Make these alone beside the models, names or patterns [default: all]."
)
@click.option("--random-weights", multiple=True, help="Name of a model whose encoder's weights are random.")
@study_options
def study(
    study: str,
    models: tuple[tuple[str, Path], ...],
    variants: tuple[str, ...],
    random_weights: tuple[str, ...],
    **options: Any,
) -> int:
    """Make every variant of STUDY, a YAML file or the name of a study that comes along, and measure them all."""
    names = [name for name, _ in models]
    if len(set(names)) < len(names):
        raise click.BadParameter("a model is given twice", param_hint="--model")
    if unknown := set(random_weights) - set(names):
        raise click.BadParameter(f"there is no model {min(unknown)!r}", param_hint="--random-weights")
    whole = read_study(study)
    return run_and_tell(whole.only(variants) if variants else whole, dict(models), random_weights, options)
