"""What every step of a chain is given, and how it hands its result on: a bundle in, a bundle out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from caption_core.bundle import MODEL_CARD, VOCABULARY, Bundle, write_bundle
from caption_core.errors import UsageError
from caption_core.model_card import render_model_card
from caption_core.models.captioning import CaptioningModel
from caption_core.models.weights import WEIGHTS, Weights, bundle_weights, named_weights, weights_bytes
from caption_core.training.config import DataConfig
from compression.files import write_json
from compression.settings.fields import PARTS, Part
from compression.settings.step import Step
from compression.variants import RECORD


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step starts from, and where its result goes.

    Attributes:
        parent: the bundle that the step changes.
        teacher: the float bundle that the whole chain began with.
        known: the float bundle that the decoder last trained in: its encoder's features are what the decoder knows.
        folder: gets the step's `bundle` and its record.
        images: folder of the training images.
        train_names: the training split's images, for calibration.
        data: captions and splits, where a step of the recipe trains on them.
        seed: decides all that is drawn.
        cache: folder of what may be kept between steps: encoder activations, a teacher's captions.
        log: takes lines of progress.
        trainings: numbers for the step's trainings, which each take one.
    """

    parent: Bundle
    teacher: Bundle
    known: Bundle
    folder: Path
    images: Path | None
    train_names: Sequence[str]
    data: DataConfig | None
    seed: int
    cache: Path
    log: Callable[[str], None] = print
    trainings: Iterator[int] = field(default_factory=count)

    @property
    def output(self) -> Path:
        """The folder of the step's bundle."""
        return self.folder / "bundle"

    def captions(self) -> DataConfig:
        """The data that a step trains on.

        Raises:
            UsageError: there are none.
        """
        if self.data is None:
            raise UsageError("this recipe trains: it needs images, captions, a training and a dev split")
        return self.data


def record_step(context: StepContext, step: Step, **measured: Any) -> None:
    """Write a step's settings, files by their names alone, and what it measured of itself, whole or not at all."""
    settings = step.model_dump(mode="json") | {setting: path.name for setting, path in step.files.items()}
    write_json(context.folder / RECORD, {"kind": step.kind, "settings": settings, **measured})


def write_float_child(
    context: StepContext,
    step: Step,
    model: CaptioningModel,
    *,
    did: str,
    further: Weights | None = None,
    fields: Mapping[str, Any] | None = None,
    vocabulary: bytes | None = None,
) -> Bundle:
    """Write a float bundle of `model` as the child of the step's parent.

    Args:
        did: what was done, in words, for the provenance.
        further: arrays beside the model's weights, for a later step. Of the parent's, `PART_quantization/...` survive
            a step that leaves that part alone, and others don't.
        fields: the manifest's fields that differ from the parent's, e.g. `architecture`.
        vocabulary: content of the vocabulary's file, if it differs.
    """
    weights = named_weights("encoder", model.encoder) | named_weights("decoder", model.decoder)
    weights |= _ranges_of_others(context.parent, step) | (further or {})
    words: Path | bytes = context.parent.path(VOCABULARY) if vocabulary is None else vocabulary
    return write_child(context, step, {WEIGHTS: weights_bytes(weights), VOCABULARY: words}, did=did, fields=fields)


def _ranges_of_others(parent: Bundle, step: Step) -> Weights:
    others = [part for part in PARTS if part not in step.parts]
    return trained_ranges(parent, *others) if others else {}


def trained_ranges(bundle: Bundle, *parts: Part) -> Weights:
    """What quantization-aware training left of some parts: arrays by name, `PART_quantization/...`."""
    prefixes = tuple(f"{part}_quantization/" for part in parts)
    return {name: array for name, array in bundle_weights(bundle).items() if name.startswith(prefixes)}


def write_child(
    context: StepContext,
    step: Step,
    files: Mapping[str, Path | bytes],
    *,
    did: str,
    fields: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle of `files` as the child of the step's parent (see `write_float_child`)."""
    manifest = child_manifest(context, f"{step.kind}: {did}") | dict(fields or {})
    return write_bundle(context.output, manifest, {**files, MODEL_CARD: render_model_card(manifest).encode()})


def child_manifest(context: StepContext, did: str) -> dict[str, Any]:
    """A manifest's fields for a child of the step's parent; scores are not inherited.

    Its provenance names what was done, and as its parent the captioner that the whole chain began with: what lies
    between is nobody's to keep.
    """
    manifest = context.parent.manifest.model_dump(mode="json", exclude={"files", "schema_version", "metrics"})
    earlier = manifest["provenance"]
    begun = context.parent.model_id == context.teacher.model_id
    steps = [*earlier["steps"], f"trained: {earlier['command']}"] if begun else earlier["steps"]
    provenance = {**earlier, "parent": context.teacher.model_id, "steps": [*steps, did], "seed": context.seed}
    provenance["versions"] = earlier["versions"] | {name: version(name) for name in ("tensorflow", "ai-edge-litert")}
    return {**manifest, "provenance": provenance}
