"""`compress`: one recipe, applied to one float bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compression.recipe import read_recipe
from compression.study import study_of
from jobs.train_commands.arguments import FOLDER
from jobs.train_commands.study_options import run_and_tell, study_options


@click.command()
@click.option("--model", type=FOLDER, required=True, help="Float bundle to compress.")
@click.option("--recipe", default="int8", show_default=True, help="YAML file, or the name of one that comes along.")
@click.option("--random-weights", is_flag=True, help="The encoder's weights are random: mark its scores so.")
@study_options
def compress(model: Path, recipe: str, random_weights: bool, **options: Any) -> int:
    """Compress a float bundle by a recipe, and measure what that cost and gained."""
    marked = ("model",) if random_weights else ()
    return run_and_tell(study_of(read_recipe(recipe)), {"model": model}, marked, options)
