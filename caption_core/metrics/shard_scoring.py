"""Scoring a corpus bucket by bucket: two passes of independent steps, wherever they run.

Pass one joins the captions and references of a bucket, describes the captions and counts documents. Pass two scores the
bucket's images by the merged document frequencies. Each step reads files and writes files; only counts come back. A
step's result depends on its bucket alone, so sums and scores don't depend on how many steps run at once, or where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from caption_core.metrics.blocks import Block, Float64, UInt64
from caption_core.metrics.buckets import read_bucket
from caption_core.metrics.caption_statistics import CaptionStatistics, describe_captions, merge_statistics
from caption_core.metrics.corpus_sums import statistics_columns
from caption_core.metrics.document_frequency import FrequencyTable, count_documents, merge_tables
from caption_core.metrics.frequency_files import merge_files, open_table, save_table
from caption_core.metrics.image_statistics import measure_block
from caption_core.metrics.pairing import Coverage, PairedTexts, PairingPolicy, pair_texts
from caption_core.metrics.study_2012_09708 import study_columns

_BLOCK_IMAGES = 2_048  # images whose n-grams are held at once: some 100 MB with five references each
_LATIN = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs a step for each item, at once or one after the other."""

    def __call__(self, step: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
        """The results, in any order."""


def run_here(step: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
    """Run the steps one after the other in this process."""
    return map(step, items)


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """What the steps share.

    Attributes:
        folder: where the buckets are, and where steps put their results; every process must see it.
        num_buckets: how many buckets there are.
        policy: what becomes of captions and references that don't match.
        split: file with the image ids to score, one a line; None for all.
        training: .npy file with the ascending keys of the training captions; None where they are not known.
        study: whether to count for the protocol of arXiv 2012.09708 too.
    """

    folder: Path
    num_buckets: int
    policy: PairingPolicy
    split: Path | None = None
    training: Path | None = None
    study: bool = False


@dataclass(frozen=True, slots=True)
class BucketSummary:
    """What pass one tells of a bucket.

    Attributes:
        bucket: its number.
        coverage: how its captions and references matched.
        captions: what its captions look like; None where none is left.
    """

    bucket: int
    coverage: Coverage
    captions: CaptionStatistics | None


@dataclass(frozen=True, slots=True)
class PrepareBucket:
    """Pass one for a bucket."""

    plan: ScoringPlan

    def __call__(self, bucket: int) -> BucketSummary:
        """Join the bucket, write the joined texts and their document frequencies."""
        folder = self.plan.folder
        captions, references = (read_bucket(folder, kind, bucket) for kind in ("captions", "references"))
        texts, coverage = pair_texts(captions, references, self.plan.policy, _read_split(self.plan.split))
        write_texts(texts_path(folder, bucket), texts)
        described, frequencies = self._count(texts, coverage)
        if frequencies:
            save_table(merge_tables(frequencies), _frequency_stem(folder, bucket))
        return BucketSummary(bucket, coverage, merge_statistics(described) if described else None)

    def _count(self, texts: PairedTexts, coverage: Coverage) -> tuple[list[CaptionStatistics], list[FrequencyTable]]:
        training: UInt64 | None = np.load(self.plan.training) if self.plan.training else None
        described, frequencies = [], []
        for part in _parts(texts):
            block = Block.build(part.captions, part.references)
            _count_oddities(part, block, coverage)
            described.append(describe_captions(block.candidates, training))
            frequencies.append(count_documents(block.references, block.num_images))
        return described, frequencies


@dataclass(frozen=True, slots=True)
class ScoreBucket:
    """Pass two for a bucket.

    Attributes:
        plan: as for pass one.
        num_images: images that are scored in all buckets.
    """

    plan: ScoringPlan
    num_images: int

    def __call__(self, bucket: int) -> int:
        """Write the statistics of the bucket's images; returns the bucket's number."""
        texts = read_texts(texts_path(self.plan.folder, bucket))
        frequency = open_table(_merged_stem(self.plan.folder), self.num_images)
        parts = [self._columns(part, frequency) for part in _parts(texts)]
        if parts:
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            _write(statistics_path(self.plan.folder, bucket), pa.table(columns))
        return bucket

    def _columns(self, part: PairedTexts, frequency: FrequencyTable) -> dict[str, Float64]:
        columns = statistics_columns(measure_block(Block.build(part.captions, part.references), frequency))
        if self.plan.study:
            columns |= study_columns(part.captions, part.references)
        return columns


def score_buckets(plan: ScoringPlan, runner: Runner) -> tuple[Coverage, CaptionStatistics]:
    """Run both passes; the statistics of each bucket lie at `statistics_path` then.

    Raises:
        MetricError: captions and references don't match in a way that the policy does not allow.
    """
    buckets = range(plan.num_buckets)
    summaries = sorted(runner(PrepareBucket(plan), buckets), key=lambda summary: summary.bucket)
    coverage = Coverage()
    for summary in summaries:
        coverage.merge(summary.coverage)
    coverage.check(plan.policy, _read_split(plan.split))
    filled = [summary.bucket for summary in summaries if summary.coverage.scored]
    merge_files([_frequency_stem(plan.folder, bucket) for bucket in filled], _merged_stem(plan.folder))
    for _ in runner(ScoreBucket(plan, coverage.scored), filled):
        pass
    return coverage, merge_statistics([summary.captions for summary in summaries if summary.captions])


def texts_path(folder: Path, bucket: int) -> Path:
    """The joined texts of a bucket."""
    return folder / f"texts-{bucket:05d}.arrow"


def statistics_path(folder: Path, bucket: int) -> Path:
    """The statistics of a bucket's images, in the order of its texts; absent where it has no image."""
    return folder / f"statistics-{bucket:05d}.arrow"


def _frequency_stem(folder: Path, bucket: int) -> Path:
    return folder / f"frequency-{bucket:05d}"


def _merged_stem(folder: Path) -> Path:
    return folder / "frequency"


def write_texts(path: Path, texts: PairedTexts) -> None:
    """Write joined texts as an Arrow file."""
    columns = {
        "image_id": pa.array(texts.image_ids, pa.string()),
        "caption": pa.array(texts.captions, pa.string()),
        "references": pa.array(texts.references, pa.list_(pa.string())),
    }
    _write(path, pa.table(columns))


def read_texts(path: Path) -> PairedTexts:
    """Read what `write_texts` wrote."""
    table = read_table(path)
    return PairedTexts(*(table.column(name).to_pylist() for name in ("image_id", "caption", "references")))


def read_table(path: Path) -> pa.Table:
    """Read an Arrow file."""
    with pa.ipc.open_file(str(path)) as file:
        return file.read_all()


def _write(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


def _read_split(path: Path | None) -> frozenset[str] | None:
    return None if path is None else frozenset(path.read_text(encoding="utf-8").split("\n"))


def _parts(texts: PairedTexts) -> Iterable[PairedTexts]:
    for start in range(0, len(texts.image_ids), _BLOCK_IMAGES):
        span = slice(start, start + _BLOCK_IMAGES)
        yield PairedTexts(texts.image_ids[span], texts.captions[span], texts.references[span])


def _count_oddities(part: PairedTexts, block: Block, coverage: Coverage) -> None:
    for image in np.flatnonzero(block.candidates.lengths == 0).tolist():
        coverage.empty_captions.add(part.image_ids[image])
    for reference in np.flatnonzero(block.references.lengths == 0).tolist():
        coverage.empty_references.add(part.image_ids[int(block.references.owner[reference])])
    for image_id, caption in zip(part.image_ids, part.captions, strict=True):
        if not caption.isascii() and any(mark.isalpha() and not _LATIN.match(mark) for mark in caption):
            coverage.non_latin.add(image_id)
