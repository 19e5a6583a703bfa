"""How fast captioners are, each in a process of its own, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compression.measurement import Speed
from compression.measuring.fresh_process import measure_afresh
from compression.measuring.timing import Timing

_TRIAL_SHARE = 4  # a trial of a batch's size captions so much less than a repeat


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a process is to caption in one go."""

    batch: int
    beam_width: int
    images: int
    from_files: bool = False


@dataclass(frozen=True, slots=True)
class _Visit:
    """How a captioner's process is started, and what it captions."""

    threads: int
    files: Sequence[Path]

    def run(self, bundle: Path, passes: Sequence[_Pass]) -> list[dict[str, Any]]:
        """A fresh process's times of each pass."""
        wanted = [asdict(one) for one in passes]
        times: list[dict[str, Any]] = measure_afresh(
            "speed", bundle, threads=self.threads, files=self.files, passes=wanted
        )
        return times


def measure_speeds(
    bundles: Mapping[str, Path],
    timing: Timing,
    files: Sequence[Path] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, tuple[Speed, ...]]]:
    """Measure captioners in turns, so that what else the machine does meets all alike.

    A repeat visits one captioner after the other, each in a fresh process that keeps to as many cores as threads,
    decodes the images first, and leaves out the first batch. Of the sizes of batches that are tried, the smallest and
    the fastest of the others are measured; which is the fastest, a round before the repeats decides. The rate from
    files, decoding included, is measured with the larger size.

    Args:
        bundles: captioners by name.
        timing: what is measured.
        files: images; over and over where there are fewer than a repeat captions, and the sample photographs where
            there are none.
        tell: takes a line a round.

    Yields:
        After each repeat, what is known by then: by name, for each number of threads and each beam width, the smallest
        batch and the fastest, where there are two.

    Raises:
        UsageError: there are fewer cores than threads.
        CapstanError: a captioner can't be measured; the message names it and the cause.
    """
    timing.check_cores()
    before: dict[str, tuple[Speed, ...]] = dict.fromkeys(bundles, ())
    for threads in timing.threads:
        visit = _Visit(threads, files)
        passes = _plan(bundles, timing, visit, tell)
        rounds = []
        for repeat in range(timing.repeats):
            tell(f"speed, {threads} threads: repeat {repeat + 1} of {timing.repeats}")
            rounds.append({name: visit.run(bundle, passes[name]) for name, bundle in bundles.items()})
            found = {
                name: before[name] + tuple(_speeds(threads, passes[name], [times[name] for times in rounds]))
                for name in bundles
            }
            yield found
        before = found


def _plan(
    bundles: Mapping[str, Path], timing: Timing, visit: _Visit, tell: Callable[[str], None]
) -> dict[str, list[_Pass]]:
    """The passes of a repeat, by captioner."""
    smallest, *others = sorted(timing.batches)
    if len(others) > 1:
        tell(f"speed, {visit.threads} threads: trying batches")
    plan: dict[str, list[_Pass]] = {}
    for name, bundle in bundles.items():
        fastest = _fastest(bundle, others, timing, visit)
        plan[name] = [
            one for width in timing.beam_widths for one in _passes(timing, smallest, fastest.get(width), width)
        ]
    return plan


def _fastest(bundle: Path, batches: Sequence[int], timing: Timing, visit: _Visit) -> dict[int, int]:
    """The fastest size of a batch for each beam width; empty where there is none to choose from."""
    if len(batches) < 2:
        return {width: batch for width in timing.beam_widths for batch in batches}
    images = -(-timing.images // _TRIAL_SHARE)
    trials = [_pass(batch, width, images) for width in timing.beam_widths for batch in batches]
    rates = [one.images / sum(times["batch_s"]) for one, times in zip(trials, visit.run(bundle, trials), strict=True)]
    # Ascending, so that the fastest of a width comes last and stays.
    ranked = sorted(zip(rates, trials, strict=True), key=lambda pair: pair[0])
    return {one.beam_width: one.batch for _, one in ranked}


def _passes(timing: Timing, smallest: int, fastest: int | None, width: int) -> list[_Pass]:
    passes = [_pass(batch, width, timing.images) for batch in (smallest, fastest) if batch is not None]
    return [*passes, replace(passes[-1], from_files=True)]


def _pass(batch: int, beam_width: int, images: int) -> _Pass:
    return _Pass(batch, beam_width, images=-(-images // batch) * batch)


def _speeds(threads: int, passes: Sequence[_Pass], rounds: Sequence[Sequence[dict[str, Any]]]) -> list[Speed]:
    """Speeds of the passes over decoded images; a pass from files belongs to the one before it."""
    speeds: list[Speed] = []
    for one, repeats in zip(passes, zip(*rounds, strict=True), strict=True):
        if one.from_files:
            rate = _median_rate(one.images, [times["seconds"] for times in repeats])
            speeds[-1] = speeds[-1].model_copy(update={"files_images_per_s": rate})
        else:
            speeds.append(_speed(threads, one, repeats))
    return speeds


def _speed(threads: int, one: _Pass, repeats: Sequence[dict[str, Any]]) -> Speed:
    p50, p95 = np.percentile([1000 * seconds for times in repeats for seconds in times["batch_s"]], [50, 95])
    totals = [sum(times["batch_s"]) for times in repeats]
    rate = _median_rate(one.images, totals)
    return Speed(
        threads=threads,
        batch=one.batch,
        beam_width=one.beam_width,
        images=one.images,
        repeats=len(repeats),
        p50_ms=float(p50),
        p95_ms=float(p95),
        images_per_s=rate,
        spread=(one.images / min(totals) - one.images / max(totals)) / rate,
        encode_images_per_s=_median_rate(one.images, [times["encode_s"] for times in repeats]),
        search_images_per_s=_median_rate(one.images, [times["search_s"] for times in repeats]),
    )


def _median_rate(images: int, seconds: Sequence[float]) -> float:
    return float(np.median([images / one for one in seconds]))
