"""A study from the driver's side: check, connect, make every variant, measure it; a rerun goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caption_core.bundle import MANIFEST, MODEL_CARD, Bundle, open_bundle, write_bundle
from caption_core.errors import UsageError
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.model_card import render_model_card
from compression.files import write_json
from compression.fitting import draws_images
from compression.measurement import MEASUREMENT, Measurement, ScoredContent, read_measurement
from compression.measuring.quality import ScoredSplit
from compression.measuring.timing import Timing
from compression.named_layers import check_layers
from compression.order import StepError
from compression.scored_images import digest_scored, locate_scored
from compression.study import Study
from compression.training_images import TrainingImages
from compression.variants import RECORD, StepNode, Variant, nodes_of, union

_IDENTITY = "study.json"
_FAILURES = "failures.json"
_SAMPLE_IMAGES = 256
_STEPS, _VARIANTS = "steps", "variants"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """A run of a study.

    Attributes:
        study: what to make.
        models: folders of the trained captioners, by the names that the study has for them; a part of a study needs not
            all of them.
        output: folder of the run: `steps` that variants share, and `variants`.
        data: what steps calibrate and train on.
        scored: what variants are scored on; None scores nothing.
        beam_widths: searches that are scored.
        timing: how speed is measured; None measures none.
        random_weights: models whose encoder's weights are random: their scores say nothing.
        cpus_per_task: CPUs of a step's or a measurement's process.
        command: command line, for the provenance.
    """

    study: Study
    models: Mapping[str, Path]
    output: Path
    data: TrainingImages
    scored: ScoredSplit | None = None
    beam_widths: tuple[int, ...] = (1, 3)
    timing: Timing | None = None
    random_weights: tuple[str, ...] = ()
    cpus_per_task: int = 1
    command: str = ""

    def __post_init__(self) -> None:
        if missing := [name for name in self.study.models if name not in self.models]:
            raise UsageError(f"study {self.study.name} needs the model {missing[0]!r}: --model {missing[0]}=BUNDLE")
        known = {variant.model: None for variant in self.study.all_variants}
        if unknown := [name for name in self.models if name not in known]:
            raise UsageError(f"study {self.study.name} has no model {unknown[0]!r}; it has: {', '.join(known)}")
        if self.cpus_per_task < 1:
            raise UsageError(f"CPUs a task must be at least 1, not {self.cpus_per_task}")

    def scored_files(self) -> tuple[Path, ...]:
        """Images that are scored; none where nothing is.

        Raises:
            UsageError: their split or references can't be read.
        """
        if self.scored is None:
            return ()
        return tuple(locate_scored(self.scored, ReferenceFile(self.scored.references)).values())

    def sample_files(self) -> tuple[Path, ...]:
        """Images that speed is measured on: of those that are scored, or else of those that steps train on."""
        return (self.scored_files() or self.data.files())[:_SAMPLE_IMAGES]

    def step_folder(self, key: str) -> Path:
        """Where a step's bundle and record are."""
        return self.output / _STEPS / key

    def variant_folder(self, variant: Variant) -> Path:
        """Where a variant's bundle and measurement are."""
        return self.output / _VARIANTS / variant.folder_name


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """What became of the variants.

    Attributes:
        made: bundles by variant's name.
        failed: causes by variant's name; one that was made, but can't be loaded to be timed, is in both.
    """

    made: dict[str, Path]
    failed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        bundles: the trained captioners by name.
        chains: each variant's nodes, by its name.
        nodes: all of them once, every one behind its parent.
        train_names: the training images.
        scored: what is scored; None where nothing is.
    """

    bundles: dict[str, Bundle]
    chains: dict[str, list[StepNode]]
    nodes: list[StepNode]
    train_names: tuple[str, ...]
    scored: ScoredContent | None = None


def plan_study(config: StudyConfig, tell: Tell = lambda _: None) -> Plan:
    """Open the models and see to it that every variant can be made, before any work.

    Raises:
        UsageError: one can't; the message gives the recipe's line.
        BundleError: a model is no bundle.
    """
    bundles = {name: open_bundle(config.models[name]) for name in config.study.models}
    has_images, has_captions = config.data.images is not None, config.data.captions is not None
    for variant in config.study.variants:
        manifest = bundles[variant.model].manifest
        variant.chain.check(manifest, has_images=has_images, has_captions=has_captions)
    names, digest = config.data.read(tell)
    if has_images and not names:
        raise UsageError("training images need a split: give --train-split")
    if config.timing is not None:
        config.timing.check_cores()
    content = digest_scored(config.scored)
    chains = {v.name: nodes_of(v, bundles[v.model], digest) for v in config.study.variants}
    _check_images(config, names, chains)
    _check_timed(config)
    # Last, for it takes seconds; steps that are made have found their layers.
    unmade = [v for v in config.study.variants if not all(is_taken(config, node) for node in chains[v.name])]
    check_layers([(variant.chain, bundles[variant.model].manifest) for variant in unmade])
    return Plan(bundles, chains, union(chains.values()), names, content)


def _check_images(config: StudyConfig, names: Sequence[str], chains: Mapping[str, list[StepNode]]) -> None:
    """See to it that the training images are there, if a step that is not taken yet reads them."""
    if config.data.images is None or config.data.captions is not None:
        return  # images without a file are refused where captions are read
    waiting = (
        (variant.chain, index, node.step.kind)
        for variant in config.study.variants
        for index, node in enumerate(chains[variant.name])
        if draws_images(node.step) and not is_taken(config, node)
    )
    if (first := next(waiting, None)) is None:
        return
    chain, index, kind = first
    if missing := next((name for name in names if not (config.data.images / name).is_file()), None):
        said = f"{kind}: --train-split: {config.data.images / missing}: no such file"
        raise chain.error(StepError(index, f"{said}; --skip-missing leaves such images out"))


def _check_timed(config: StudyConfig) -> None:
    """See to it that the images whose captioning is timed are there."""
    if config.timing is None:
        return
    if missing := next((file for file in config.sample_files() if not file.is_file()), None):
        raise UsageError(f"--train-split: {missing}: no such file")


def run_study(config: StudyConfig, *, address: str | None, tell: Tell = print) -> StudyOutcome:
    """Make and measure every variant; what an earlier run finished is not done again.

    A variant that fails is reported and does not stop the others.

    Raises:
        UsageError: a variant can't be made, or the output folder holds another study; before any cluster work.
        CapstanError: the cluster can't be used.
    """
    plan = plan_study(config, tell)
    _claim(config)
    # Imported late: a wrong argument must not cost the seconds that Ray takes to import.
    from compression.distributed import make_variants

    outcome = make_variants(config, plan, address=address, tell=tell)
    _keep_failures(config, outcome)
    if config.timing is not None:
        from compression.study_timing import time_variants

        failed = time_variants(config, outcome.made | _made_earlier(config), tell)
        outcome = StudyOutcome(outcome.made, outcome.failed | failed)
        _keep_failures(config, outcome)
    return outcome


def _made_earlier(config: StudyConfig) -> dict[str, Path]:
    """What an earlier run made and measured, and this one has nothing to do with; speeds hold within a run only."""
    folders = {variant.name: config.variant_folder(variant) for variant in config.study.others}
    return {name: folder / "bundle" for name, folder in folders.items() if (folder / MEASUREMENT).exists()}


def _keep_failures(config: StudyConfig, outcome: StudyOutcome) -> None:
    """Write down why variants failed; of those that this run had nothing to do with, what earlier ones wrote."""
    path = config.output / _FAILURES
    before: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    others = {variant.name for variant in config.study.others}
    write_json(path, {name: cause for name, cause in before.items() if name in others} | outcome.failed)


def _claim(config: StudyConfig) -> None:
    """Bind the output folder to this study's name, and keep the order of its variants there."""
    config.output.mkdir(parents=True, exist_ok=True)
    path = config.output / _IDENTITY
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("study") != config.study.name:
            raise UsageError(f"output {config.output} holds the study {found.get('study')!r}: give another folder")
    elif any(config.output.iterdir()):
        raise UsageError(f"output {config.output}: there is something else in it; give another folder")
    names = [variant.name for variant in config.study.all_variants]
    write_json(path, {"study": config.study.name, "variants": names})


def finish_variant(config: StudyConfig, variant: Variant, last: Bundle) -> Bundle:
    """A variant's own bundle, under a name that tells it from others; an equal one that is there is left as it is."""
    folder = config.variant_folder(variant) / "bundle"
    if (folder / MANIFEST).exists() and _content(open_bundle(folder)) == _content(last):
        return open_bundle(folder)
    # What was measured there is another bundle's.
    (folder.parent / MEASUREMENT).unlink(missing_ok=True)
    fields = last.manifest.model_dump(mode="json", exclude={"files", "schema_version", "metrics"})
    if variant.chain.steps:
        fields["name"] = _bundle_name(last.manifest.name, config.study.name, variant)
        fields["provenance"]["command"] = config.command
    else:
        fields["metrics"] = last.manifest.metrics
    files: dict[str, Path | bytes] = {name: last.path(name) for name in last.manifest.files}
    return write_bundle(folder, fields, {**files, MODEL_CARD: render_model_card(fields).encode()})


def _content(bundle: Bundle) -> dict[str, Any]:
    """All of a bundle but its name, its history and what was scored."""
    content = bundle.manifest.model_dump(mode="json", exclude={"name", "provenance", "metrics"})
    content["files"].pop(MODEL_CARD, None)
    return content


def found_measurement(bundle: Bundle) -> Measurement | None:
    """What was measured of a variant's bundle; None where nothing was, or of another one.

    A bundle of the same weights whose files are in another form has an equal id: `finish_variant` drops what was
    measured of it.
    """
    path = bundle.folder.parent / MEASUREMENT
    found = read_measurement(path) if path.exists() else None
    return found if found is not None and found.bundle_id == bundle.model_id else None


def is_measured(config: StudyConfig, variant: Variant, content: ScoredContent | None, found: Measurement) -> bool:
    """Whether all that this run asks for, but speed, is in what was found, and marked as this run says."""
    if found.random_weights != (variant.model in config.random_weights):
        return False
    if content is None:
        return True
    return set(config.beam_widths) <= {one.beam_width for one in found.quality if content.is_of(one)}


def _bundle_name(parent: str, study: str, variant: Variant) -> str:
    own = variant.folder_name.lower().replace("+", ".").replace("=", "-").replace("_", "-")
    name = f"{parent}-{own}" if own.startswith(study) else f"{parent}-{study}-{own}"
    return name[:80]


def is_taken(config: StudyConfig, node: StepNode) -> bool:
    """Whether a step is done: its record is written last."""
    folder = config.step_folder(node.key)
    return (folder / "bundle" / MANIFEST).exists() and (folder / RECORD).exists()


def step_records(config: StudyConfig, nodes: Sequence[StepNode]) -> list[dict[str, Any]]:
    """What a variant's steps wrote down of themselves."""
    paths = [config.step_folder(node.key) / RECORD for node in nodes]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
