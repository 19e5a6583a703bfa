"""How good captions are: a split's captions, their scores, and two captioners compared on the same images."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.captioner import Captioner, load_captioner
from caption_core.errors import UsageError
from caption_core.metrics.bootstrap import BootstrapSettings, Difference
from caption_core.metrics.caption_files import CaptionFile
from caption_core.metrics.evaluation import EvaluateConfig, run_evaluate
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.training.dataset import load_split, read_captions
from compression.measurement import Quality
from compression.measuring.pixels import pixel_batches

_BATCH_IMAGES = 32


@dataclass(frozen=True, slots=True)
class ScoredSplit:
    """What captioners are scored on.

    Attributes:
        name: what records and files call it; no path.
        images: folder of images.
        references: path of a file of references (see `ReferenceFile`).
        split: file of image names, or a split that the references name.
        resamples: draws of the bootstrap.
    """

    name: str
    images: Path
    references: str
    split: str
    resamples: int = 1_000

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise UsageError(f"split {self.name!r}: a name that a file can have is needed")
        if self.resamples < 1:
            raise UsageError(f"scores need bootstrap draws: resamples must be at least 1, not {self.resamples}")


def measure_quality(
    bundle: Path, scored: ScoredSplit, folder: Path, *, beam_width: int | None = None, threads: int = 1
) -> Quality:
    """Caption a split, keep the captions in `folder`, and score them with 95 % bootstrap intervals.

    Args:
        bundle: the captioner; its runtime is loaded into this process.
        scored: the split.
        folder: gets `captions-NAME-beam-K.parquet` with columns image_id and caption, whole or not at all.
        beam_width: in place of the bundle's own.
        threads: of the runtime, and as many that decode.

    Raises:
        BundleError: the captioner can't be loaded.
        UsageError: an image, the references or the split can't be read.
        MetricError: captions and references don't match.
    """
    captioner = load_captioner(bundle, threads=threads)
    width = beam_width or captioner.search.beam_width
    names, files = _images_of(scored)
    path = folder / f"captions-{scored.name}-beam-{width}.parquet"
    write_captions(path, names, _captions(captioner, files, width, threads))
    result = run_evaluate(_evaluation(path, scored)).result
    scores = result.scores.scores
    intervals = {name: (score.interval.low, score.interval.high) for name, score in scores.items() if score.interval}
    return Quality(
        split=scored.name,
        images=len(names),
        beam_width=width,
        scores={name: score.value for name, score in scores.items()},
        intervals=intervals,
        captions=path.name,
        study_bleu=result.scores.study,
    )


def compare_captions(
    captions: Path, baseline: Path, references: str, *, resamples: int = 1_000
) -> dict[str, Difference]:
    """Scores of captions minus those of a baseline on the same images, by metric, with 95 % intervals.

    Each bootstrap draw of images scores both. The images are those of `captions`.

    Args:
        captions: a file of `write_captions`.
        baseline: the same of another captioner; further images in it are passed over, as they are in the references.
        references: path of a file of references (see `ReferenceFile`).
        resamples: draws of the bootstrap.

    Raises:
        UsageError: a file can't be read.
        MetricError: an image has no caption in the baseline, or no reference.
    """
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "images.txt"
        split.write_text("\n".join(_image_ids(captions)), encoding="utf-8")
        bootstrap = BootstrapSettings(resamples)
        config = EvaluateConfig(
            str(captions), references, str(baseline), split=str(split), bootstrap=bootstrap, optional_metrics=False
        )
        return run_evaluate(config).differences


def write_captions(path: Path, image_ids: Sequence[str], captions: Sequence[str]) -> None:
    """Write one row an image, whole or not at all: columns `image_id` and `caption`, both strings."""
    table = pa.table({"image_id": pa.array(image_ids, pa.string()), "caption": pa.array(captions, pa.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"_{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        pq.write_table(table, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _image_ids(captions: Path) -> list[str]:
    batches = CaptionFile(str(captions)).batches()
    return [name for batch in batches for name in batch.column("image_id").to_pylist()]


def _images_of(scored: ScoredSplit) -> tuple[tuple[str, ...], list[Path]]:
    """Names of the split's images as the references have them, and their files."""
    references = ReferenceFile(scored.references)
    names = references.split_ids(scored.split, numeric_ids=False)
    images = load_split(scored.images, read_captions([references]), scored.name, names)
    return names, [images.folder / name for name in images.names]


def _captions(captioner: Captioner, files: Sequence[Path], beam_width: int, threads: int) -> list[str]:
    search = replace(captioner.search, beam_width=beam_width)
    batches = pixel_batches(files, captioner.image_size, batch=_BATCH_IMAGES, threads=threads)
    return [caption.text for batch in batches for caption in captioner.caption(batch, search)]


def _evaluation(captions: Path, scored: ScoredSplit) -> EvaluateConfig:
    bootstrap = BootstrapSettings(scored.resamples)
    return EvaluateConfig(
        str(captions), scored.references, split=scored.split, bootstrap=bootstrap, optional_metrics=False, study=True
    )
