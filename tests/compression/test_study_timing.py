"""What is timed again, and what is kept, when a study is run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caption_core.errors import CapstanError
from compression import study_timing
from compression.measurement import MEASUREMENT, Measurement, Speed, read_measurement, write_measurement
from compression.measuring.loading import Loading
from compression.measuring.machine import measure_machine
from compression.measuring.timing import Timing
from compression.study import read_study
from compression.study_run import StudyConfig
from compression.study_timing import time_variants
from compression.training_images import TrainingImages
from tests.compression.report.measurements import measurement

TIMING = Timing(threads=(1,), batches=(1,), beam_widths=(3,), images=8, repeats=2)


def speed(threads: int, images_per_s: float, timing: Timing) -> Speed:
    return Speed(
        threads=threads,
        batch=1,
        beam_width=3,
        images=timing.images,
        repeats=timing.repeats,
        p50_ms=1.0,
        p95_ms=2.0,
        images_per_s=images_per_s,
        spread=0.0,
        encode_images_per_s=1.0,
        search_images_per_s=1.0,
    )


class Run:
    """A study of two variants that are made; each timing is a tenth faster than the one before."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = folder / "study.yaml"
        path.write_text("name: s\nvariants:\n  a: []\n", encoding="utf-8")
        model = folder / "model"
        self.config = StudyConfig(
            read_study(str(path)), {"model": model}, folder, TrainingImages(None, None, None, folder)
        )
        self.made = {name: folder / name / "bundle" for name in ("a", "b")}
        for name, bundle in self.made.items():
            bundle.mkdir(parents=True)
            write_measurement(bundle.parent / MEASUREMENT, measurement(name, speed=(), load_s=None))
        self.timed: list[list[str]] = []
        self.broken: set[str] = set()
        self.repeats = 0
        self.most_repeats = 9
        monkeypatch.setattr(study_timing, "measure_speeds", self._speeds)
        monkeypatch.setattr(study_timing, "measure_loading", self._loading)

    def __call__(self, timing: Timing) -> dict[str, str]:
        self.repeats = timing.repeats
        return time_variants(replace(self.config, timing=timing), self.made, lambda _: None)

    def found(self, name: str) -> Measurement:
        return read_measurement(self.made[name].parent / MEASUREMENT)

    def rates(self, name: str) -> dict[int, float]:
        return {one.threads: one.images_per_s for one in self.found(name).speed}

    def _loading(self, bundle: Path, *, runs: int) -> Loading:
        assert runs == self.repeats
        if bundle.parent.name in self.broken:
            raise CapstanError(f"{bundle}: broken")
        return Loading(1.0, 0.5, 1.0, 1.0, 1.0)

    def _speeds(self, bundles: Mapping[str, Path], timing: Timing, *_: Any) -> Iterator[dict[str, tuple[Speed, ...]]]:
        self.timed.append(list(bundles))
        rate = 1.1 ** len(self.timed)
        done: tuple[Speed, ...] = ()
        for threads in timing.threads:
            for repeats in range(1, timing.repeats + 1):
                if repeats > self.most_repeats:
                    raise KeyboardInterrupt
                yield dict.fromkeys(bundles, (*done, speed(threads, rate, replace(timing, repeats=repeats))))
            done = (*done, speed(threads, rate, timing))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_times_are_measured_once_and_say_where(run: Run) -> None:
    assert run(TIMING) == run(TIMING) == {}
    assert run.timed == [["a", "b"]]
    assert run.found("a").load_s == 0.5
    assert run.found("a").machine == measure_machine()


def test_other_threads_are_timed_beside_those_that_are_there(run: Run) -> None:
    run(TIMING)
    run(replace(TIMING, threads=(2,)))
    assert run.rates("b") == {1: pytest.approx(1.1), 2: pytest.approx(1.21)}
    run(replace(TIMING, threads=(1, 2)))
    assert len(run.timed) == 2


def test_more_repeats_take_the_place_of_fewer(run: Run) -> None:
    run(TIMING)
    run(replace(TIMING, repeats=3))
    run(TIMING)
    assert run.rates("a") == {1: pytest.approx(1.21)}


def test_a_run_that_is_stopped_keeps_its_whole_repeats_and_the_next_times_all_again(run: Run) -> None:
    run.most_repeats = 1
    with pytest.raises(KeyboardInterrupt):
        run(TIMING)
    assert [one.repeats for one in run.found("b").speed] == [1]
    run.most_repeats = 2
    run(TIMING)
    assert [one.repeats for one in run.found("b").speed] == [2]
    assert len(run.timed) == 2


def test_a_run_that_is_stopped_takes_nothing_from_an_earlier_one(run: Run) -> None:
    run(replace(TIMING, threads=(1, 2)))
    run.most_repeats = 2
    with pytest.raises(KeyboardInterrupt):
        run(replace(TIMING, threads=(1, 2), repeats=3))
    assert [(one.threads, one.repeats) for one in run.found("b").speed] == [(1, 2), (2, 2)]
    assert run.rates("b") == {1: pytest.approx(1.1), 2: pytest.approx(1.1)}


def test_all_are_timed_again_where_one_is_new(run: Run) -> None:
    run(TIMING)
    write_measurement(run.made["b"].parent / MEASUREMENT, measurement("b", speed=(), load_s=None))
    run(TIMING)
    assert run.timed == [["a", "b"], ["a", "b"]]
    assert run.rates("a") == run.rates("b")


def test_another_machines_speeds_are_not_mixed_with_this_ones(run: Run) -> None:
    run(TIMING)
    for name, bundle in run.made.items():
        elsewhere = run.found(name).machine.model_copy(update={"processor": "another"})
        write_measurement(bundle.parent / MEASUREMENT, run.found(name).model_copy(update={"machine": elsewhere}))
    run(replace(TIMING, threads=(2,)))
    assert run.rates("a").keys() == {2}


def test_one_that_does_not_load_is_named_and_the_others_are_timed(run: Run) -> None:
    run.broken = {"a"}
    assert "broken" in run(TIMING)["a"]
    assert run.timed == [["b"]]
    assert run.rates("a") == {}
