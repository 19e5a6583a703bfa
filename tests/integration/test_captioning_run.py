"""Captioning on a real local Ray, with a captioner that says which image it saw."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from caption_core.archive.parts import list_parts
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_run import CaptioningConfig, SearchOverrides, run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.pool_size import ActorRange
from caption_core.engine.run_report import RunReport
from caption_core.errors import CapstanError, UsageError
from tests.builders import plain, write_file, write_hostile_folder, write_images, write_oddly_named_images, written
from tests.fake_captioner import DEADLY, POISON, FakeLoader, expected_caption, fake_spec

# A hang is what these tests look for; a run takes some seconds, on a loaded machine a minute.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def no_cluster_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


class Run:
    """Runs over one pair of folders."""

    def __init__(self, root: Path) -> None:
        self.source, self.output = root / "in", root / "out"
        self.calls = root / "calls"
        self.said = ""

    def __call__(self, captioner: CaptionerSpec | None = None, *, cpus: int = 2, **changes: object) -> RunReport:
        config = CaptioningConfig(self.source, self.output, shard_size=8, cluster=ClusterConfig(cpus=cpus))
        spec = captioner or fake_spec(FakeLoader(calls=self.calls))
        stream = io.StringIO()
        try:
            return run_captioning(replace(config, **changes), spec, stream)  # type: ignore[arg-type]
        finally:
            self.said = stream.getvalue()

    def rows(self) -> dict[str, Mapping[str, object]]:
        rows = ds.dataset(self.output, format="parquet").to_table().to_pylist()
        assert len({row["image_id"] for row in rows}) == len(rows)
        return {row["image_id"]: row for row in rows}

    def loads(self) -> list[list[str]]:
        """Process, threads, TF_USE_LEGACY_KERAS and OMP_NUM_THREADS of each captioner that was loaded."""
        return [line.split() for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_an_archive_good_and_bad_and_all_over_again(run: Run) -> None:
    colours = write_images(run.source, 60)
    kinds = write_hostile_folder(run.source / "hostile", run.calls.with_name("outside.png"))
    names = write_oddly_named_images(run.source / "odd")
    write_file(run.source / "poison.png", plain(POISON))
    report = run()

    rows = run.rows()
    failed = {f"hostile/{name}": kind for name, kind in kinds.items()} | {"poison.png": "inference_failed"}
    odd = {f"odd/{name}" for name in names}
    assert rows.keys() == colours.keys() | failed.keys() | odd
    assert {name: row["error_kind"] for name, row in rows.items() if row["status"] == "failed"} == failed
    for name, colour in colours.items():
        assert rows[name]["caption"] == expected_caption(colour)
    assert (report.counts.ok, report.counts.failed) == (len(colours) + len(odd), len(failed))
    assert report.num_before == 0
    assert f"{len(rows)} / {len(rows)} images (100 %), {len(failed)} failed" in run.said
    assert "2 actors" in run.said

    loads = run.loads()
    assert 1 <= len({process for process, *_ in loads}) <= 2
    assert {tuple(rest) for _, *rest in loads} == {("1", "1", "1")}

    before = {path: written(path) for path in list_parts(run.output).values()}
    again = run()
    assert again.num_before == again.counts.total == len(rows)
    assert {path: written(path) for path in list_parts(run.output).values()} == before
    assert run.loads() == loads, "a finished run starts no worker"
    assert sorted(path.name for path in (run.output / "_run").iterdir()) in (
        ["lock", "run.json"],
        ["lock", "native.log", "run.json"],
    )


def test_one_cpu_and_more_actors_than_fit(run: Run) -> None:
    colours = write_images(run.source, 20)
    report = run(cpus=1, actors=ActorRange(1, 4))
    assert report.counts.ok == len(colours)
    assert "--actors asks for up to 4 actors of 1 CPU; 1 fit on 1 CPU, so 1 will run" in run.said


def test_actors_that_claim_every_cpu(run: Run) -> None:
    colours = write_images(run.source, 20)
    assert run(cpus=2, cpus_per_actor=2).counts.ok == len(colours)
    assert {tuple(rest) for _, *rest in run.loads()} == {("2", "1", "2")}


def test_what_can_never_fit_is_refused_before_ray_starts(run: Run) -> None:
    write_images(run.source, 30)
    with pytest.raises(UsageError, match="at least 3 actors of 1 CPU, but only 2 fit"):
        run(actors=ActorRange(3, 8))
    with pytest.raises(UsageError, match="an actor needs 3 CPUs"):
        run(cpus_per_actor=3)


def test_a_part_that_went_missing_is_made_again_and_only_that(run: Run) -> None:
    write_images(run.source, 40)
    run()
    rows = run.rows()
    lost = run.output / "part-00002.parquet"
    content = lost.read_bytes()
    lost.unlink()
    (run.output / "_part-00002.parquet.0123456789abcdef.tmp").write_bytes(content[:100])
    kept = {path: written(path) for path in list_parts(run.output).values()}
    report = run()
    assert (report.num_before, report.counts.total) == (32, 40)
    assert run.rows() == rows
    assert lost.read_bytes() == content
    assert {path: written(path) for path in kept} == kept
    assert not list(run.output.glob("_part*"))


def test_other_settings_do_not_mix_with_finished_shards(run: Run) -> None:
    write_images(run.source, 16)
    run()
    before = run.rows()
    with pytest.raises(UsageError, match="beam_width 3 → 5"):
        run(search=SearchOverrides(beam_width=5))
    with pytest.raises(UsageError, match="shard_size 8 → 4"):
        run(shard_size=4)
    with pytest.raises(UsageError, match="model_id fake@000000000000 → fake@111111111111"):
        run(fake_spec(FakeLoader(model_id="fake@111111111111")))
    write_images(run.source, 1, first=99)
    with pytest.raises(UsageError, match="num_images 16 → 17"):
        run()
    assert run.rows() == before


def test_search_settings_reach_the_captioner(run: Run) -> None:
    write_images(run.source, 4)
    run(search=SearchOverrides(beam_width=7))
    assert {row["score"] for row in run.rows().values()} == {-7.0}


def test_a_captioner_that_does_not_load_ends_the_run_with_its_reason(run: Run) -> None:
    write_images(run.source, 16)
    with pytest.raises(CapstanError, match="no runtime on this machine"):
        run(fake_spec(FakeLoader(fails=True)))
    assert list_parts(run.output) == {}


def test_an_image_that_kills_its_worker_ends_the_run_and_spares_the_other_shards(run: Run) -> None:
    write_images(run.source, 24)
    write_file(run.source / "0" / "00000.png", plain(DEADLY))
    with pytest.raises(CapstanError, match="shard 0: its worker died 4 times"):
        run()
    assert 0 not in list_parts(run.output)
    write_file(run.source / "0" / "00000.png", plain((1, 2, 3), size=(40, 30)))
    finished = len(list_parts(run.output)) * 8
    report = run()
    assert report.counts.ok == 24
    assert report.num_before == finished


@pytest.mark.parametrize("what", ["missing", "a file", "empty"])
def test_a_wrong_input_is_refused(run: Run, what: str) -> None:
    if what == "a file":
        write_file(run.source, b"")
    elif what == "empty":
        write_file(run.source / "notes.txt", b"")
    with pytest.raises(UsageError, match=str(run.source)):
        run()
    assert not run.output.exists()
