"""From the statistics of all images to scores with intervals, in one pass over the buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from caption_core.metrics.blocks import Float64
from caption_core.metrics.bootstrap import BootstrapSettings, Difference, Interval, ResampledSums, difference, interval
from caption_core.metrics.corpus_sums import ExactSum, nltk_bleu, scores_from_sums
from caption_core.metrics.image_report import ImageReport
from caption_core.metrics.optional_metrics import OptionalMetric
from caption_core.metrics.pairing import PairedTexts
from caption_core.metrics.scores import MetricError
from caption_core.metrics.shard_scoring import ScoringPlan, read_table, read_texts, statistics_path, texts_path
from caption_core.metrics.study_2012_09708 import study_scores
from caption_core.metrics.tokenizer import tokenize


@dataclass(frozen=True, slots=True)
class Score:
    """A corpus score, with its interval where one was asked for."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class CorpusScores:
    """What a corpus scores.

    Attributes:
        scores: by metric, under coco-caption's names (its "CIDEr" is CIDEr-D).
        nltk_bleu: BLEU as NLTK computes it.
        study: scores under the protocol of arXiv 2012.09708; empty where they were not asked for.
    """

    scores: dict[str, Score]
    nltk_bleu: dict[str, float]
    study: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BucketStatistics:
    """A bucket's images, with all statistics that add up.

    Attributes:
        texts: captions and references.
        columns: float64 [images] a statistic.
    """

    texts: PairedTexts
    columns: dict[str, Float64]


class CorpusReduction:
    """Adds up one captioner's statistics, as they come.

    Args:
        metrics: further metrics, computed here.
    """

    def __init__(self, metrics: Sequence[OptionalMetric]) -> None:
        """No image added yet."""
        self._metrics = metrics
        self._sums: dict[str, ExactSum] = {}
        self._num_images = 0

    @property
    def metric_names(self) -> list[str]:
        """Names of all scores, in the order of a report."""
        zeros = {name: np.zeros(()) for name in _ALL_COLUMNS}
        return [*scores_from_sums(zeros, 1), *(metric.name for metric in self._metrics)]

    def add(self, bucket: BucketStatistics) -> BucketStatistics:
        """Add a bucket's images; returns the bucket with the further metrics' statistics too."""
        columns = bucket.columns | self._further(bucket.texts)
        for name, column in columns.items():
            self._sums.setdefault(name, ExactSum()).add(column)
        self._num_images += len(bucket.texts.image_ids)
        return BucketStatistics(bucket.texts, columns)

    def _further(self, texts: PairedTexts) -> dict[str, Float64]:
        columns: dict[str, Float64] = {}
        if self._metrics:
            captions = [" ".join(tokenize(caption)) for caption in texts.captions]
            references = [[" ".join(tokenize(text)) for text in sentences] for sentences in texts.references]
            for metric in self._metrics:
                columns |= metric.columns(captions, references)
        return columns

    def scores_of(self, sums: Mapping[str, Float64], num_images: float) -> dict[str, Float64]:
        """All scores from sums over images: float64 [...] each."""
        scores = scores_from_sums(sums, num_images)
        return scores | {metric.name: metric.scores(sums, num_images) for metric in self._metrics}

    def corpus_scores(self) -> dict[str, float]:
        """Scores of everything that was added."""
        sums = {name: np.array(total.value()) for name, total in self._sums.items()}
        return {name: float(score) for name, score in self.scores_of(sums, self._num_images).items()}

    def finish(self, intervals: Mapping[str, Interval], *, study: bool) -> CorpusScores:
        """All scores, with the intervals that there are."""
        sums = {name: total.value() for name, total in self._sums.items()}
        scores = {name: Score(value, intervals.get(name)) for name, value in self.corpus_scores().items()}
        return CorpusScores(scores, nltk_bleu(sums), study_scores(sums) if study else {})


_ALL_COLUMNS = [
    *(f"{kind}_{order}" for kind in ("correct", "guessed", "short") for order in range(1, 5)),
    *("length", "reference_length", "rouge_l", "cider_d", "cider"),
]


def read_buckets(plan: ScoringPlan) -> Iterator[BucketStatistics]:
    """The scored buckets of a captioner, in order."""
    for bucket in range(plan.num_buckets):
        path = statistics_path(plan.folder, bucket)
        if path.exists():
            table = read_table(path)
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
            yield BucketStatistics(read_texts(texts_path(plan.folder, bucket)), columns)


@dataclass(frozen=True, slots=True)
class Reduced:
    """What `reduce_corpora` finds.

    Attributes:
        corpora: scores of each captioner.
        differences: the first captioner's scores minus the second's, by metric; empty for one captioner.
    """

    corpora: list[CorpusScores]
    differences: dict[str, Difference]


def reduce_corpora(
    plans: Sequence[ScoringPlan],
    num_images: int,
    settings: BootstrapSettings,
    metrics: Sequence[OptionalMetric],
    report: ImageReport | None = None,
) -> Reduced:
    """Score one captioner, or two on the same images, with bootstrap intervals; draws of images are shared by both.

    Args:
        plans: of each captioner, both passes done.
        num_images: images that each was scored on.
        settings: of the bootstrap.
        metrics: further metrics.
        report: gets the images of the first captioner.

    Raises:
        MetricError: the captioners were scored on different images.
    """
    sides = [CorpusReduction(metrics) for _ in plans]
    resampled = ResampledSums(num_images, settings)
    for buckets in zip(*map(read_buckets, plans), strict=False):
        _check_same_images(buckets)
        full = [side.add(bucket) for side, bucket in zip(sides, buckets, strict=True)]
        if settings.resamples:
            resampled.add({f"{i}.{name}": column for i, one in enumerate(full) for name, column in one.columns.items()})
        if report:
            report.add(full[0].texts, full[0].columns["length"], sides[0].scores_of(full[0].columns, 1))
    draws = _draw_scores(sides, resampled, num_images) if settings.resamples else [{} for _ in sides]
    return _judge(sides, draws, settings, study=any(plan.study for plan in plans))


def _check_same_images(buckets: Sequence[BucketStatistics]) -> None:
    if any(bucket.texts.image_ids != buckets[0].texts.image_ids for bucket in buckets):
        raise MetricError("the captioner and its baseline were scored on different images; --missing empty scores all")


def _draw_scores(
    sides: Sequence[CorpusReduction], resampled: ResampledSums, num_images: int
) -> list[dict[str, Float64]]:
    """Scores of each captioner in each bootstrap draw, float64 [resamples] a metric."""
    sums = resampled.sums()
    prefixes = [f"{index}." for index in range(len(sides))]
    split = [{name.removeprefix(p): sums[name] for name in sums if name.startswith(p)} for p in prefixes]
    return [side.scores_of(own, num_images) for side, own in zip(sides, split, strict=True)]


def _judge(
    sides: Sequence[CorpusReduction], draws: Sequence[dict[str, Float64]], settings: BootstrapSettings, *, study: bool
) -> Reduced:
    confidence = settings.confidence
    corpora = [
        side.finish({name: interval(values, confidence) for name, values in own.items()}, study=study)
        for side, own in zip(sides, draws, strict=True)
    ]
    if len(sides) < 2:
        return Reduced(corpora, {})
    first, second = (side.corpus_scores() for side in sides)
    differences = {
        name: difference(first[name] - second[name], draws[0][name] - draws[1][name], confidence) for name in first
    }
    return Reduced(corpora, differences)
