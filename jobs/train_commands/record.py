"""`record`: measured scores into a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.train_commands.arguments import FILE, FOLDER


@click.command()
@click.option("--model", type=FOLDER, required=True, help="Bundle that was measured.")
@click.option("--scores", type=FILE, required=True, help="The scores.json that `evaluate` wrote.")
@click.option("--protocol", required=True, help='What was measured and how, e.g. "Flickr8k test, beam 3".')
def record(model: Path, scores: Path, protocol: str) -> None:
    """Write measured scores into a bundle's manifest and model card."""
    from caption_core.bundle import record_metrics
    from caption_core.metrics.evaluation_report import read_scores

    bundle = record_metrics(model, protocol, read_scores(scores))
    click.echo(f"recorded in {bundle.folder}: {bundle.model_id}")
