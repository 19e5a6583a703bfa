"""Evaluating a captioner: captions and references in, scores with intervals out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from caption_core.errors import UsageError
from caption_core.metrics.blocks import Sentences, UInt64
from caption_core.metrics.bootstrap import BootstrapSettings, Difference
from caption_core.metrics.buckets import choose_num_buckets, divide
from caption_core.metrics.caption_files import CaptionFile
from caption_core.metrics.caption_statistics import CaptionStatistics, caption_keys
from caption_core.metrics.image_report import ImageReport
from caption_core.metrics.optional_metrics import OptionalMetric, open_metrics
from caption_core.metrics.pairing import Coverage, PairingPolicy
from caption_core.metrics.reduction import CorpusReduction, CorpusScores, Reduced, reduce_corpora
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.metrics.scores import MetricError
from caption_core.metrics.shard_scoring import Runner, ScoringPlan, run_here, score_buckets
from caption_core.metrics.text_batches import TEXT_SCHEMA

_REFERENCES_AN_IMAGE = 5  # as Flickr8k, Flickr30k and COCO have; only the number of buckets hangs on it


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What to evaluate, and how.

    Attributes:
        captions: path of the captions (see `CaptionFile`).
        references: path of the references (see `ReferenceFile`).
        baseline: path of another captioner's captions of the same images, to compare with.
        output: folder that gets the results; None writes nothing.
        split: file with the names of the images to score, or a split that the references name; None for all.
        by_name: compare images by the last part of their path, on both sides.
        policy: what becomes of captions and references that don't match.
        bootstrap: how uncertainty is estimated.
        training_captions: path of the training captions, in a form of references, to tell novel captions by.
        training_split: split of these.
        optional_metrics: compute METEOR and SPICE where they can run.
        study: compute the protocol of arXiv 2012.09708 too.
        work_folder: where intermediate files go, about 20 GB for ten million captions; None for the system's place.
    """

    captions: str
    references: str
    baseline: str | None = None
    output: Path | None = None
    split: str | None = None
    by_name: bool = False
    policy: PairingPolicy = field(default_factory=PairingPolicy)
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    training_captions: str | None = None
    training_split: str | None = None
    optional_metrics: bool = True
    study: bool = False
    work_folder: Path | None = None

    def __post_init__(self) -> None:
        """Check combinations that can't work."""
        if self.baseline and not self.bootstrap.resamples:
            raise UsageError("--baseline needs bootstrap draws: --resamples must not be 0")
        if self.training_split and not self.training_captions:
            raise UsageError("--training-split needs --training-captions")


@dataclass(frozen=True, slots=True)
class EvaluateInputs:
    """The files of an evaluation, opened.

    Attributes:
        captions: the captioner's and, where there is one, the baseline's.
        references: what they are scored against.
        training: the training captions; None where they are not known.
    """

    captions: list[CaptionFile]
    references: ReferenceFile
    training: ReferenceFile | None

    @classmethod
    def open(cls, config: EvaluateConfig) -> EvaluateInputs:
        """Open the files of a config.

        Raises:
            UsageError: one of them is missing or has no known form, or the split is unknown.
        """
        captions = [CaptionFile(path) for path in (config.captions, config.baseline) if path]
        inputs = cls(
            captions,
            ReferenceFile(config.references),
            ReferenceFile(config.training_captions) if config.training_captions else None,
        )
        for file, split in ((inputs.references, config.split), (inputs.training, config.training_split)):
            if file and split:
                file.split_ids(split, numeric_ids=captions[0].has_numeric_ids())
        return inputs

    def num_images(self) -> int:
        """About how many images there are on the side that has more."""
        return max(self.captions[0].num_rows(), self.references.approximate_rows() // _REFERENCES_AN_IMAGE)


@dataclass(frozen=True, slots=True)
class ScoredCaptions:
    """One captioner's result.

    Attributes:
        path: of its captions.
        scores: what they score.
        coverage: how they matched the references.
        captions: what they look like.
    """

    path: str
    scores: CorpusScores
    coverage: Coverage
    captions: CaptionStatistics


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `run_evaluate`.

    Attributes:
        config: what was asked for.
        result: the captioner's.
        baseline: the baseline's, where there is one.
        differences: scores minus the baseline's, by metric.
        notes: one line for each metric that could not run.
    """

    config: EvaluateConfig
    result: ScoredCaptions
    baseline: ScoredCaptions | None
    differences: dict[str, Difference]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A captioner whose images have been scored."""

    path: str
    plan: ScoringPlan
    coverage: Coverage
    captions: CaptionStatistics


def run_evaluate(
    config: EvaluateConfig,
    runner: Runner = run_here,
    tell: Callable[[str], None] = lambda _: None,
    inputs: EvaluateInputs | None = None,
) -> Evaluation:
    """Evaluate captions, and write the per-image Parquet where an output folder is given.

    Args:
        config: what to evaluate.
        runner: runs the steps, each over a bucket of some thousand images; results don't depend on it.
        tell: gets a line a stage.
        inputs: the config's files, where they have been opened already.

    Raises:
        UsageError: an input can't be read, or arguments contradict one another.
        MetricError: captions and references don't match in a way that the policy does not allow.
    """
    inputs = inputs or EvaluateInputs.open(config)
    with ExitStack() as stack:
        stack.enter_context(_told_disk_errors())
        work = Path(stack.enter_context(_work_folder(config.work_folder)))
        runs = list(_score_captioners(config, inputs, work, runner, tell))
        metrics, notes = open_metrics() if config.optional_metrics else ([], [])
        for metric in metrics:
            stack.callback(metric.close)
        tell(f"adding up {runs[0].coverage.scored:,} images")
        reduced = _reduce(config, runs, metrics)
    return _collect(config, runs, reduced, notes)


@contextmanager
def _told_disk_errors() -> Iterator[None]:
    """A full disk or a folder that can't be written is one line, not a traceback."""
    try:
        yield
    except OSError as error:
        raise MetricError(f"evaluation stopped: {error}") from error


def _work_folder(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="capstan-evaluate-", dir=folder)


def _score_captioners(
    config: EvaluateConfig, inputs: EvaluateInputs, work: Path, runner: Runner, tell: Callable[[str], None]
) -> Iterator[_Prepared]:
    num_buckets = choose_num_buckets(inputs.num_images())
    references = inputs.references
    training = _training_keys(config, inputs, work, tell)
    for index, file in enumerate(inputs.captions):
        folder = work / str(index)
        folder.mkdir()
        tell(f"joining {file.num_rows():,} captions of {file.path} with {references.form.value} {references.path}")
        split = _divide_texts(config, file, references, folder, num_buckets)
        plan = ScoringPlan(folder, num_buckets, config.policy, split, training, config.study)
        tell(f"scoring in {num_buckets} {'step' if num_buckets == 1 else 'steps'}")
        yield _Prepared(file.path, plan, *score_buckets(plan, runner))


def _divide_texts(
    config: EvaluateConfig, file: CaptionFile, references: ReferenceFile, folder: Path, num_buckets: int
) -> Path | None:
    """Write the buckets, and the ids of the split; returns the file of these."""
    numeric = file.has_numeric_ids()
    for kind, batches in (("captions", file.batches()), ("references", references.batches(numeric_ids=numeric))):
        divide(map(_last_part, batches) if config.by_name else batches, folder, kind, num_buckets)
    if config.split is None:
        return None
    ids = references.split_ids(config.split, numeric_ids=numeric)
    path = folder / "split.txt"
    path.write_text("\n".join(name.rsplit("/", 1)[-1] if config.by_name else name for name in ids), encoding="utf-8")
    return path


def _last_part(batch: pa.RecordBatch) -> pa.RecordBatch:
    ids = pa.array([name.rsplit("/", 1)[-1] for name in batch.column("image_id").to_pylist()], pa.string())
    return pa.record_batch([ids, batch.column("text")], schema=TEXT_SCHEMA)


def _training_keys(
    config: EvaluateConfig, inputs: EvaluateInputs, work: Path, tell: Callable[[str], None]
) -> Path | None:
    """Write the keys of the training captions; returns the file."""
    file, numeric = inputs.training, inputs.captions[0].has_numeric_ids()
    if file is None:
        return None
    tell(f"reading training captions of {file.path}")
    split = frozenset(file.split_ids(config.training_split, numeric_ids=numeric)) if config.training_split else None
    keys: UInt64 = np.zeros(0, np.uint64)
    for batch in file.batches(numeric_ids=numeric):
        rows = zip(batch.column("image_id").to_pylist(), batch.column("text").to_pylist(), strict=True)
        texts = [text for image_id, text in rows if split is None or image_id in split]
        keys = np.union1d(keys, caption_keys(Sentences.build(texts, range(len(texts)))))
    path = work / "training.npy"
    np.save(path, keys)
    return path


def _reduce(config: EvaluateConfig, runs: list[_Prepared], metrics: list[OptionalMetric]) -> Reduced:
    num_images = runs[0].coverage.scored
    if any(run.coverage.scored != num_images for run in runs):
        raise MetricError("the captioner and its baseline were scored on different images; --missing empty scores all")
    plans = [run.plan for run in runs]
    if config.output is None:
        return reduce_corpora(plans, num_images, config.bootstrap, metrics)
    config.output.mkdir(parents=True, exist_ok=True)
    with ImageReport(config.output, CorpusReduction(metrics).metric_names) as report:
        return reduce_corpora(plans, num_images, config.bootstrap, metrics, report)


def _collect(config: EvaluateConfig, runs: list[_Prepared], reduced: Reduced, notes: list[str]) -> Evaluation:
    scored = [
        ScoredCaptions(run.path, corpus, run.coverage, run.captions)
        for run, corpus in zip(runs, reduced.corpora, strict=True)
    ]
    return Evaluation(config, scored[0], scored[1] if len(scored) > 1 else None, reduced.differences, notes)
