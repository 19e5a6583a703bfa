"""A benchmark's jobs are real ones, and its figures hang together."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from caption_core.engine.captioner_spec import DEFAULT_BUNDLE
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.interruption import Interrupted
from caption_core.errors import CapstanError, UsageError
from compression.benchmark import run
from compression.benchmark.config import BenchmarkConfig
from compression.benchmark.jobs import JobTime, Point, points_of
from compression.benchmark.repeated_images import RepeatedImages
from compression.benchmark.report import rows_of, write_report
from compression.benchmark.run import Measured, run_benchmark
from compression.measuring.start_line import StartLine

SAMPLES = DEFAULT_BUNDLE.parent / "photographs"


@pytest.mark.slow
def test_it_measures_jobs_stages_and_a_loop(tmp_path: Path) -> None:
    config = BenchmarkConfig(
        variants={"bundled": DEFAULT_BUNDLE, "idle": None},
        images=SAMPLES,
        output=tmp_path / "out",
        source="memory",
        num_images=64,
        shard_size=16,
        actors=(1,),
        batch_sizes=(8,),
        repeats=1,
    )
    told: list[str] = []
    written = run_benchmark(config, told.append)
    assert sorted(path.name for path in written) == sorted(path.name for path in config.output.iterdir())
    found = json.loads((config.output / "benchmark.json").read_text())
    bundled, idle = found["rows"]
    assert found["settings"]["images"] == 64
    assert found["machine"]["cores"] >= 1
    assert (bundled["variant"], bundled["actors"], bundled["batch_size"], bundled["beam_width"]) == (
        "bundled",
        1,
        8,
        None,
    )
    assert min(idle["steady_images_per_s"], bundled["steady_images_per_s"]) > 0
    assert bundled["overall_images_per_s"] < bundled["steady_images_per_s"]
    assert 0 < bundled["first_part_s"] < 64 / bundled["overall_images_per_s"]
    assert bundled["peak_memory_mb"] > 50
    stages = sum(bundled[f"{stage}_ms"] for stage in ("read", "decode", "encode", "search", "write"))
    assert bundled["bound_images_per_s"] == pytest.approx(1000 / stages)
    assert bundled["loop_share_of_bound"] == pytest.approx(bundled["loop_images_per_s"] / bundled["bound_images_per_s"])
    assert bundled["loops_at_once_images_per_s"] == bundled["loop_images_per_s"]
    assert idle["loop_images_per_s"] is None
    assert pq.read_table(config.output / "benchmark.parquet").num_rows == 2
    page = (config.output / "benchmark.md").read_text()
    assert "| bundled " in page
    assert "on a local Ray." in page
    assert "/home" not in page
    assert str(tmp_path) not in page
    assert any("bundled, 1 actor, batch 8" in line for line in told)
    assert told[-1] in page
    assert "## Stages" in told[-1]


def test_rows_are_medians_and_compare_pools() -> None:
    def measured(actors: int, rates: tuple[float, ...]) -> Measured:
        jobs = [JobTime(rate, rate / 2, 5.0, 10**8) for rate in rates]
        times = {"read": 0.001, "decode": 0.002, "encode": 0.001, "search": 0.0005, "write": 0.0005, "loop": 0.00625}
        return Measured(Point("a", actors, 32, None), jobs, [times | {"loop_at_once": 0.00625 * (0.8 + 0.2 * actors)}])

    one, two = rows_of([measured(1, (100.0, 140.0, 120.0)), measured(2, (228.0, 200.0, 230.0))])
    assert (one["steady_images_per_s"], one["steady_lowest"], one["steady_highest"]) == (120.0, 100.0, 140.0)
    assert (one["bound_images_per_s"], one["loop_images_per_s"]) == pytest.approx((200.0, 160.0))
    assert one["loop_share_of_bound"] == pytest.approx(0.8)
    assert (one["sum_ms"], one["job_share_of_bound"]) == pytest.approx((5.0, 120 / 200))
    assert two["job_share_of_bound"] == pytest.approx(228 / 400)
    assert (one["job_share_of_loops"], two["job_share_of_loops"]) == pytest.approx((120 / 160, 228 / 320))
    assert (one["loops_at_once_images_per_s"], two["loops_at_once_images_per_s"]) == pytest.approx((160, 320 / 1.2))
    assert two["job_share_of_loops_at_once"] == pytest.approx(228 * 1.2 / 320)
    assert (one["actors_speedup"], two["actors_speedup"]) == pytest.approx((1.0, 1.9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {}}, "at least one captioner"),
        ({"actors": (1, 1)}, "actors must be different"),
        ({"actors": (0,)}, "actors must be different"),
        ({"decoders": -1}, "decoders per actor must lie between"),
        ({"gpus_per_actor": 0.5}, "timed on CPUs"),
        ({"gpus_per_actor": 1.5, "stages": False}, "GPUs per actor must be"),
        ({"precisions": ()}, "precisions must be different"),
        ({"precisions": ("float32", "float32")}, "precisions must be different"),
        ({"batch_sizes": (-1,)}, "batch sizes must be different"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"num_images": 100}, "too few for 1 actors"),
        ({"actors": (4096,), "num_images": 10**7}, "don't fit"),
        ({"actors": (1, 4096), "num_images": 10**7}, "4096 actors of 1 CPUs don't fit"),
        ({"cpus_per_actor": (1, 1000)}, "1 actors of 1000 CPUs don't fit"),
        ({"cpus_per_actor": (0,)}, "cpus per actor must be different"),
        ({"cpus_per_actor": ()}, "cpus per actor must be different"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"variants": {"idle": None}, "images": SAMPLES, "output": tmp_path, "actors": (1,)}
    with pytest.raises(UsageError, match=message):
        BenchmarkConfig(**settings | changes)  # type: ignore[arg-type]


def test_float_captioners_are_measured_in_each_precision(tiny_bundle: Path, tmp_path: Path) -> None:
    variants = {"float": tiny_bundle, "bundled": DEFAULT_BUNDLE, "idle": None}
    config = BenchmarkConfig(variants, SAMPLES, tmp_path, actors=(1,), precisions=("bfloat16", "float32"))
    points = [(point.variant, point.precision) for point in points_of(config)]
    assert points == [
        ("float", "bfloat16"),
        ("float", "float32"),
        ("bundled", None),
        ("idle", None),
    ]


def test_pools_are_swept_with_the_cpus_of_each_as_far_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    config = replace(config_of(tmp_path), actors=(1, 2), cpus_per_actor=(1, 2, 4))
    pools = [(point.actors, point.cpus_per_actor) for point in points_of(config)]
    assert pools == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)]
    assert len(list(points_of(replace(config, cluster=ClusterConfig("10.0.0.1:6379"))))) == 6
    jobs = [JobTime(100.0 * pool[0] * pool[1] ** 0.5, 50.0, 5.0, 10**8) for pool in pools]
    rows = rows_of([Measured(point, [job]) for point, job in zip(points_of(config), jobs, strict=True)])
    assert [row["actors_speedup"] for row in rows] == [1, 1, 1, 2, 2]
    assert rows_of([Measured(Point("a", 2, 32, None), jobs[:1])], decoders=3)[0]["images_per_cpu_s"] == 100 / 8
    assert [row["images_per_cpu_s"] for row in rows] == pytest.approx([100, 100 / 2**0.5, 50, 100, 100 / 2**0.5])


def test_pools_of_a_joined_cluster_may_exceed_this_machine(tmp_path: Path) -> None:
    cluster = ClusterConfig("10.0.0.1:6379")
    BenchmarkConfig({"idle": None}, SAMPLES, tmp_path, actors=(1000,), num_images=10**7, cluster=cluster)


def test_a_bundle_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    config = BenchmarkConfig({"other": tmp_path}, SAMPLES, tmp_path / "out", actors=(1,))
    with pytest.raises(UsageError, match=r"other: .*manifest"):
        run_benchmark(config)
    assert not config.output.exists()


def test_a_captioner_that_takes_no_gpu_is_refused_before_anything_runs(tiny_bundle: Path, tmp_path: Path) -> None:
    variants = {"float": tiny_bundle, "bundled": DEFAULT_BUNDLE}
    config = BenchmarkConfig(variants, SAMPLES, tmp_path / "out", actors=(1,), gpus_per_actor=0.5, stages=False)
    with pytest.raises(UsageError, match="compressed and runs on CPUs"):
        run_benchmark(config)
    assert not config.output.exists()


def config_of(tmp_path: Path) -> BenchmarkConfig:
    return BenchmarkConfig({"bundled": DEFAULT_BUNDLE}, SAMPLES, tmp_path, num_images=64, shard_size=16)


def test_loops_run_at_once_where_this_machine_has_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def measure(task: str, *, slot: int = 0, **_: Any) -> Any:
        asked.append((task, slot))
        return {"read": 1.0} if task == "stages" else (0.5, 1.0)[slot]

    monkeypatch.setattr(run, "measure_afresh", measure)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {4, 5})
    images = RepeatedImages.of(SAMPLES, 64, in_memory=False)
    known: dict[Point, Mapping[str, float]] = {}
    found = [run._stages(config_of(tmp_path), images, Point("bundled", n, 8, 1), known) for n in (1, 2, 3)]
    assert found[0] == {"read": 1.0, "loop": 0.5, "loop_at_once": 0.5}
    assert found[1] == {"read": 1.0, "loop": 0.5, "loop_at_once": pytest.approx(2 / 3)}
    assert found[2] == {"read": 1.0, "loop": 0.5}, "three actors have CPUs that this machine has not"
    assert sorted(asked) == [("loop", 0), ("loop", 0), ("loop", 1), ("stages", 0)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_real_loops_at_once(tmp_path: Path) -> None:
    images = RepeatedImages.of(SAMPLES, 64, in_memory=False)
    assert 0 < run._loops(config_of(tmp_path), images, Point("bundled", 2, 8, 1), 2) < 1


def test_a_pool_that_no_loops_were_beside_is_compared_with_one_alone() -> None:
    times = dict.fromkeys(("read", "decode", "encode", "search", "write"), 0.001) | {"loop": 0.004}
    (row,) = rows_of([Measured(Point("a", 64, 32, None), [JobTime(8000.0, 8000.0, 5.0, 10**8)], [times])])
    assert row["job_share_of_loops"] == pytest.approx(0.5)
    assert row["loops_at_once_images_per_s"] is row["job_share_of_loops_at_once"] is None


def test_a_report_tells_of_the_cluster_that_was_joined(tmp_path: Path) -> None:
    measured = [Measured(Point("a", 8, 32, None), [JobTime(800.0, 700.0, 5.0, 10**8)])]
    cluster = ClusterConfig("10.0.0.1:6379")
    config = replace(config_of(tmp_path), gpus_per_actor=0.5, stages=False, actors=(2,), cluster=cluster)
    images = RepeatedImages.of(SAMPLES, 64, in_memory=False)
    write_report(config, images, rows_of(measured), ["4 x 16 CPUs, 60 GB for workers, 1 GPUs H100"])
    page = (tmp_path / "benchmark.md").read_text()
    assert "The cluster's machines: 4 x 16 CPUs, 60 GB for workers, 1 GPUs H100; the one of the command: " in page
    assert "1 CPUs and 0.5 GPUs an actor, on an existing Ray cluster." in page
    assert json.loads((tmp_path / "benchmark.json").read_text())["cluster_machines"] == [
        "4 x 16 CPUs, 60 GB for workers, 1 GPUs H100"
    ]


@pytest.mark.parametrize("whole", [0, 2])
def test_what_is_stopped_reports_its_whole_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    jobs: list[Point] = []

    def job(_: BenchmarkConfig, __: RepeatedImages, point: Point) -> JobTime:
        jobs.append(point)
        if len(jobs) == 2 * whole + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return JobTime(100.0 * len(jobs), 50.0, 5.0, 10**8)

    monkeypatch.setattr(run, "run_job", job)
    told: list[str] = []
    config = replace(config_of(tmp_path / "out"), actors=(1,), batch_sizes=(8, 16), repeats=5, stages=False)
    with pytest.raises(Interrupted):
        run_benchmark(config, told.append)
    written = sorted(path.name for path in config.output.iterdir())
    assert len(jobs) == 2 * whole + 2
    assert sorted(line for line in told if "whole" in line) == [
        f"of {whole} whole repeats: {config.output / name}" for name in written
    ]
    assert bool(written) == bool(whole)
    if whole:
        rows = pq.read_table(config.output / "benchmark.parquet").to_pylist()
        assert [(row["repeats"], row["steady_images_per_s"]) for row in rows] == [(2, 200.0), (2, 300.0)]
        assert "Medians of 2 repeats" in (config.output / "benchmark.md").read_text()


def test_a_loop_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def measure(_: str, *, slot: int, start: str, **__: Any) -> float:
        if slot == 1:
            raise CapstanError("out of memory")
        try:
            StartLine(Path(start), slot, 2).wait(patience_s=30)
        except (RuntimeError, TimeoutError) as error:
            ended.append(str(error))
            raise
        return 1.0

    monkeypatch.setattr(run, "measure_afresh", measure)
    images = RepeatedImages.of(SAMPLES, 64, in_memory=False)
    with pytest.raises(CapstanError, match="out of memory"):
        run._loops(config_of(tmp_path), images, Point("bundled", 2, 8, 1), 2)
    assert ended == ["another process that was to begin at the same time failed"]
