"""`evaluate`: captions against references."""

from __future__ import annotations

from typing import Any

import click

from caption_core.metrics.bootstrap import BootstrapSettings
from caption_core.metrics.evaluation import EvaluateConfig
from caption_core.metrics.pairing import MismatchPolicy, MissingPolicy, PairingPolicy
from jobs.train_commands.arguments import ANY, OUTPUT


@click.command()
@click.option("--captions", required=True, help="Parquet of a captioning run (file, folder, URI) or COCO results JSON.")
@click.option(
    "--references", required=True, help="Flickr8k tokens, Kaggle CSV, COCO annotations, Karpathy JSON, Parquet."
)
@click.option("--output", type=OUTPUT, help="Folder that gets scores.json and images.parquet.")
@click.option("--split", help="Score these images only: a file of names, or a split that the references name.")
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
@click.option("--work-folder", type=ANY, help="For intermediate files; all machines of a cluster must see it.")
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
