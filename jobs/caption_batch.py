"""Caption images into a Parquet dataset on Ray: `python jobs/caption_batch.py --input FOLDER --output FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs as it is

from caption_core.archive.failures import failures_as_json, failures_as_table, iter_failures
from caption_core.archive.outcomes import sum_counts
from caption_core.archive.preview import captions_table, first_rows
from caption_core.archive.run_state import part_counts
from caption_core.archive.run_status import read_status
from caption_core.archive.sources.options import InputOptions, WebPolicy
from caption_core.archive.storage import Storage
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE, PRECISIONS, CaptionerSpec, bundle_captioner
from caption_core.engine.captioning_config import CaptioningConfig, SearchOverrides
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.interruption import Interrupted, interruptible
from caption_core.engine.pool_size import ActorClaim, ActorRange
from caption_core.engine.run_setup import describe_plan, preview_run
from caption_core.errors import BundleError, UsageError
from caption_core.images import ImageLimits
from caption_core.records import ErrorKind
from jobs.command_line import DefaultGroup, run_command
from jobs.lasting_output import lasting_output

_FOLDER = click.Path(path_type=Path)
_LIMITS, _WEB = ImageLimits(), WebPolicy()
_KINDS = [kind.value for kind in ErrorKind]

_RUN_OPTIONS = [
    click.option("--input", "inputs", multiple=True, required=True, help="Folder, archive, manifest or pattern."),
    click.option("--output", required=True, help="Folder for the Parquet parts; resumes what is there."),
    click.option("--model", type=_FOLDER, default=DEFAULT_BUNDLE, show_default="the one that comes along"),
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32", help="Of a float captioner."),
    click.option("--beam", type=int, show_default="the bundle's", help="Hypotheses kept; 1 is greedy search."),
    click.option("--max-tokens", type=int, show_default="the bundle's", help="Longest caption in words."),
    click.option("--length-penalty", type=float, show_default="the bundle's", help="Exponent of the caption's length."),
    click.option("--candidates", type=int, default=0, help="Captions an image to write with their scores."),
    click.option("--shard-size", type=int, show_default="by the number of images", help="Images a Parquet part."),
    click.option("--limit", type=int, help="Caption only the first so many images."),
    click.option("--overwrite", is_flag=True, help="Delete what earlier runs wrote into the output folder."),
    click.option("--image-column", help="Column of images in Parquet files.", show_default="by type"),
    click.option("--path-column", help="Column of paths or addresses in manifests.", show_default="by name"),
    click.option("--id-column", help="Column whose values become image ids."),
    click.option("--carry", multiple=True, metavar="COLUMN[=AS]", help="Column to carry along into the output."),
    click.option("--image-root", type=_FOLDER, help="Folder that a manifest's paths are relative to, and stay in."),
    click.option("--follow-links", is_flag=True, help="Read files outside the input where links lead to them."),
    click.option(
        "--truncated", type=click.Choice(["fail", "caption"]), default="fail", help="What to do with cut-off files."
    ),
    click.option("--max-pixels", type=int, default=_LIMITS.max_pixels, help="Larger images become failed rows."),
    click.option("--max-bytes", type=int, default=_LIMITS.max_bytes, help="Larger files become failed rows."),
    click.option("--private-addresses", type=click.Choice(["refuse", "allow"]), default="refuse", help="On the web."),
    click.option("--web-timeout-s", type=float, default=_WEB.total_s, help="One try of a download."),
    click.option("--web-retries", type=int, default=_WEB.retries, help="Further tries of a download."),
]
_WORK_OPTIONS = [
    click.option("--actors", metavar="MIN:MAX", show_default="as many as fit", help="Size of the pool of captioners."),
    click.option("--cpus-per-actor", type=int, default=1, help="CPUs that each captioner claims and uses."),
    click.option("--gpus-per-actor", type=float, default=0, help="GPUs that each claims, for float captioners."),
    click.option("--decoders-per-actor", type=int, default=0, help="CPUs of the cluster that decode for each."),
    click.option("--batch-size", type=int, default=32, help="Images in one call of the captioner."),
    click.option("--image-timeout-s", type=float, default=120, help="To read one image, and then to decode it."),
    click.option("--dedup", is_flag=True, help="Caption equal images of a shard once."),
    click.option(
        "--retry-failed", is_flag=False, flag_value="all", metavar="[KIND,…]", help="Try failed images again."
    ),
    click.option("--max-error-rate", type=float, help="Stop when a larger share of images fails."),
    click.option("--address", show_default="a local Ray", help="Ray cluster to work on: host:port or auto."),
    click.option("--cpus", type=int, show_default="all", help="CPUs of the local Ray."),
    click.option("--wait-s", type=float, default=600, help="How long a joined cluster may take to grow to MIN actors."),
]


def _options(*groups: list[Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@click.group(cls=DefaultGroup, default="run")
def main() -> None:
    """Caption archives of images into Parquet datasets; without a command: run."""


@main.command(context_settings={"show_default": True})
@_options(_RUN_OPTIONS, _WORK_OPTIONS)
@click.option("--dry-run", is_flag=True, help="Say what would be done, as the command plan does.")
@click.option("--show", type=click.IntRange(0), default=0, help="Print this many captions at the end.")
def run(dry_run: bool, show: int, **arguments: Any) -> int:
    """Caption every image of the inputs; a run that was stopped or killed resumes when it is started again."""
    config, captioner = _config(**arguments), _captioner(arguments["model"], arguments["precision"])
    if dry_run:
        return _print_plan(config, captioner)
    try:
        with interruptible():
            report = run_captioning(config, captioner)
    except Interrupted as interruption:
        click.echo("stopped; start it again with the same arguments to resume", err=True)
        return interruption.exit_code
    if show:
        click.echo(captions_table(first_rows(report.output, show)))
    click.echo("\n".join(report.lines()))
    return 0


@main.command(context_settings={"show_default": True})
@_options(_RUN_OPTIONS)
def plan(**arguments: Any) -> int:
    """Say what a run would do and what is done already; nothing is written."""
    return _print_plan(_config(**arguments), _captioner(arguments["model"], arguments["precision"]))


@main.command()
@click.argument("output")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(output: str, as_json: bool) -> int:
    """Say how far the run of an output folder is: running, stopped or finished."""
    found = read_status(Storage.at(output))
    click.echo(found.as_json() if as_json else "\n".join(found.lines()))
    return 0


@main.command()
@click.argument("output")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only failures of this kind.")
@click.option("--jsonl", is_flag=True, help="A JSON object a line.")
def failed(output: str, kinds: tuple[str, ...], jsonl: bool) -> int:
    """List the images of an output folder that have no caption, by kind, with the cause."""
    storage = Storage.at(output)
    parts = part_counts(storage)
    if not parts:
        raise UsageError(f"{storage}: no captions here")
    failures = iter_failures(storage, parts, kinds)
    for line in failures_as_json(failures) if jsonl else failures_as_table(failures, sum_counts(parts.values())):
        click.echo(line)
    return 0


def _print_plan(config: CaptioningConfig, captioner: CaptionerSpec) -> int:
    click.echo("\n".join(describe_plan(preview_run(config, captioner, config.open_source()), config)))
    return 0


def _config(**given: Any) -> CaptioningConfig:
    work = {name: given[name] for name in ("batch_size", "image_timeout_s") if name in given}
    return CaptioningConfig(
        inputs=tuple(given["inputs"]),
        output=lasting_output(given["output"]),
        options=_input_options(given),
        search=SearchOverrides(given["beam"], given["max_tokens"], given["length_penalty"], given["candidates"]),
        limits=ImageLimits(given["max_pixels"], given["max_bytes"], given["truncated"] == "caption"),
        shard_size=given["shard_size"],
        limit=given["limit"],
        overwrite=given["overwrite"],
        actors=ActorRange.parse(given["actors"]) if given.get("actors") else None,
        claim=ActorClaim(
            given.get("cpus_per_actor", 1), given.get("gpus_per_actor", 0.0), given.get("decoders_per_actor", 0)
        ),
        dedup=given.get("dedup", False),
        max_error_rate=given.get("max_error_rate"),
        retry_failed=_error_kinds(given.get("retry_failed")),
        cluster=ClusterConfig(given.get("address"), given.get("cpus"), given.get("wait_s", 600.0)),
        **work,
    )


def _input_options(given: dict[str, Any]) -> InputOptions:
    return InputOptions(
        follow_links=given["follow_links"],
        image_column=given["image_column"],
        path_column=given["path_column"],
        id_column=given["id_column"],
        carry=tuple(_carried(text) for text in given["carry"]),
        image_root=given["image_root"],
        web=WebPolicy(
            total_s=given["web_timeout_s"],
            retries=given["web_retries"],
            private_addresses=given["private_addresses"] == "allow",
        ),
    )


def _carried(text: str) -> tuple[str, str]:
    name, _, other = text.partition("=")
    return name, other or name


def _error_kinds(text: str | None) -> frozenset[ErrorKind] | None:
    if text is None:
        return None
    names = _KINDS if text == "all" else [name.strip() for name in text.split(",")]
    if unknown := sorted(set(names) - set(_KINDS)):
        raise UsageError(f"--retry-failed {', '.join(unknown)}: no such kind; the kinds are {', '.join(_KINDS)}")
    return frozenset(map(ErrorKind, names))


def _captioner(model: Path, precision: str) -> CaptionerSpec:
    try:
        return bundle_captioner(model, precision)
    except BundleError as error:
        raise UsageError(f"--model: {error}") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
