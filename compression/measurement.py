"""What is measured of a captioner, as one JSON file a variant: sizes, speed, quality, layers. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from caption_core.errors import UsageError
from compression.files import write_text

MEASUREMENT = "measurement.json"
"""Its name in a variant's folder; the captions that `Quality.captions` names stand beside it."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Size(_Record):
    """A part's size: `encoder`, `decoder`, `vocabulary` or `whole`.

    Attributes:
        parameters: elements of its weights; quantization's scales and zero points are not counted.
        nonzeros: those that are not zero.
        distinct_values: different values of a matrix as they are stored, on average over all of its matrices.
        raw_bytes: of its files once expanded.
        stored_bytes: of its files in the bundle's folder, which is what a user downloads; see `measuring.sizes` for
            parts that share a file.
    """

    parameters: int
    nonzeros: int
    distinct_values: float
    raw_bytes: int
    stored_bytes: int


class Layer(_Record):
    """One weight matrix: a kernel or an embedding, each with at least two sides longer than one.

    Attributes:
        name: as in float bundles, e.g. `decoder/gates_from_h/kernel`; for a LiteRT constant that can't be traced back,
            its part and the graph's own name for it.
        distinct_values: different values as they are stored: LiteRT's integers without their scales.
        error: relative root mean square difference of the layer's output from the float model's, where measured.
    """

    name: str
    part: str
    elements: int
    sparsity: float
    distinct_values: int
    error: float | None = None


class Speed(_Record):
    """Captioning of decoded images in one process that has as many cores as threads, warm-up excluded.

    Attributes:
        images: captioned in a repeat; a repeat is a process of its own.
        p50_ms, p95_ms: of a batch's captioning, in milliseconds, over all repeats.
        images_per_s: the median of the repeats; `spread` is (highest - lowest) / median.
        encode_images_per_s, search_images_per_s: of the two stages alone; medians.
        files_images_per_s: from files, reading and decoding included, with as many threads that decode the next batch
            while one is captioned; the median of the repeats, where it was measured.
    """

    threads: int
    batch: int
    beam_width: int
    images: int
    repeats: int
    p50_ms: float
    p95_ms: float
    images_per_s: float
    spread: float
    encode_images_per_s: float
    search_images_per_s: float
    files_images_per_s: float | None = None

    def minutes(self, images: int = 2_000) -> float | None:
        """Minutes for so many images from files: arXiv 2012.09708 reports its models' for 2,000."""
        return None if self.files_images_per_s is None else images / self.files_images_per_s / 60


class Quality(_Record):
    """Corpus scores on a split, with 95 % bootstrap intervals.

    Attributes:
        scores: by coco-caption's names, `Bleu_1` to `Bleu_4`, `ROUGE_L`, `CIDEr-D`, `CIDEr`.
        intervals: [low, high] by the same names.
        captions: file of the captions, beside this one, for paired comparisons.
        study_bleu: `BLEU-1` to `BLEU-4` under the protocol of arXiv 2012.09708, only to compare with its figures.
        digest: of what was scored (see `ScoredContent`); None in files of the time before it was written down.
    """

    split: str
    images: int
    beam_width: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    captions: str
    study_bleu: dict[str, float] = {}
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredContent:
    """What is scored, told from what another file of the same name held, or the same file before it was edited.

    Attributes:
        split: its name in records.
        images: how many there are.
        digest: of the images' names, their sizes in bytes and their references.
    """

    split: str
    images: int
    digest: str

    def is_of(self, quality: Quality) -> bool:
        """Whether these are scores of it.

        Of scores without a digest only the number of images is known: it has to do, for to score all captioners of a
        large study once more takes hours.
        """
        is_same = quality.images == self.images if quality.digest is None else quality.digest == self.digest
        return quality.split == self.split and is_same


class Machine(_Record):
    """Where speed and memory were measured."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    versions: dict[str, str]


class Measurement(_Record):
    """A variant and what was measured of it.

    Attributes:
        variant: its name in its study, unique there.
        study: the study's name.
        axes: the choice on each axis of the study's grid, e.g. {"encoder": "pruned", "decoder": "as is"}.
        model: name of the trained captioner that it was made from.
        recipe: the recipe's steps as YAML.
        seed: the recipe's.
        command: command line that made it.
        bundle_id: name@digest of what was measured.
        runtime: `tensorflow` or `litert`.
        beam_width: the captioner's own, where nothing else is asked for.
        random_weights: the encoder's weights are random: scores say nothing.
        load_s: from a folder's name to a captioner, in seconds; imports are not counted (see `measuring.loading`).
            None where no times were measured.
        memory_mb: resident memory that the captioner added to a fresh process with its runtime imported, after its
            first captions, in 10^6 bytes.
        quality: of the split that was scored last, which is the one that reports show.
        other_quality: of splits that were scored before, with the same bundle.
        steps: the chain's records, one a step: its kind, settings, seconds, history of epochs.
    """

    variant: str
    study: str
    axes: dict[str, str]
    model: str
    recipe: str
    seed: int
    command: str
    bundle_id: str
    runtime: str
    beam_width: int
    random_weights: bool
    sizes: dict[str, Size]
    load_s: float | None = None
    memory_mb: float
    layers: tuple[Layer, ...]
    speed: tuple[Speed, ...]
    quality: tuple[Quality, ...]
    other_quality: tuple[Quality, ...] = ()
    machine: Machine
    steps: tuple[dict[str, Any], ...]


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Write a measurement, whole or not at all."""
    write_text(path, measurement.model_dump_json(indent=1))


def read_measurement(path: Path) -> Measurement:
    """Read a measurement.

    Raises:
        UsageError: the file is missing or is none; the message names file and cause.
    """
    try:
        return Measurement.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
