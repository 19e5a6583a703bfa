"""Captioning on a real local Ray, with a captioner that says which image it saw."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.parts import list_parts
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.storage import Storage
from caption_core.engine import captioning_run
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig, SearchOverrides
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.pool_size import ActorClaim, ActorRange
from caption_core.engine.run_report import RunReport
from caption_core.errors import CapstanError, UsageError
from caption_core.records import VOLATILE_COLUMNS, ErrorKind
from tests.builders import (
    Colour,
    plain,
    write_file,
    write_hostile_folder,
    write_images,
    write_oddly_named_images,
    written,
)
from tests.fake_captioner import DEADLY, POISON, FakeLoader, expected_caption, fake_spec
from tests.integration.warm_ray import WarmRay
from tests.strange_source import StrangeSource

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
        inputs, output = (str(self.source),), str(self.output)
        config = CaptioningConfig(inputs, output, shard_size=8, cluster=ClusterConfig(cpus=cpus))
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

    def stable_rows(self) -> dict[str, Mapping[str, object]]:
        """Rows without the columns that differ from run to run."""
        return {
            name: {column: value for column, value in row.items() if column not in VOLATILE_COLUMNS}
            for name, row in self.rows().items()
        }

    def parts(self) -> dict[Path, tuple[int, int]]:
        """The parts, and when each was written."""
        paths = [self.output / name for name in list_parts(Storage.at(self.output)).values()]
        return {path: written(path) for path in paths}

    def loads(self) -> list[list[str]]:
        """Process, threads, TF_USE_LEGACY_KERAS and OMP_NUM_THREADS of each captioner that was loaded."""
        return [line.split() for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


@pytest.fixture(scope="module")
def warm_ray() -> Iterator[WarmRay]:
    kept = WarmRay()
    yield kept
    kept.stop()


@pytest.fixture
def run(tmp_path: Path, warm_ray: WarmRay, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs on the Ray that the tests share."""
    monkeypatch.setattr(captioning_run, "connected", warm_ray.connected)
    return Run(tmp_path)


def test_an_archive_good_and_bad_and_all_over_again_on_a_ray_of_its_own(tmp_path: Path, warm_ray: WarmRay) -> None:
    warm_ray.stop()
    run = Run(tmp_path)
    colours = write_images(run.source, 60)
    kinds = write_hostile_folder(run.source / "hostile", run.calls.with_name("outside.png"))
    names = write_oddly_named_images(run.source / "odd")
    write_file(run.source / "poison.png", plain(POISON))
    handler = signal.getsignal(signal.SIGTERM)
    report = run()
    assert signal.getsignal(signal.SIGTERM) is handler, "not the one that Ray sets"

    rows = run.rows()
    failed = {f"hostile/{name}": kind for name, kind in kinds.items()}
    failed |= {"poison.png": "inference_failed", "odd/folder.jpg": "unreadable"}
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

    before = run.parts()
    again = run()
    assert again.num_before == again.counts.total == len(rows)
    assert run.parts() == before
    assert run.loads() == loads, "a finished run starts no worker"
    notes = {path.name.partition("-")[0] for path in (run.output / "_run").iterdir()}
    assert notes - {"native.log"} == {"lock", "plan", "progress.json", "run.json"}
    assert (run.output / "_SUCCESS").exists()
    summary = json.loads((run.output / "_report" / "summary.json").read_text())
    assert (summary["ok"], summary["failed"]) == (report.counts.ok, report.counts.failed)
    assert summary["this_run"]["images"] == len(rows)


def test_one_cpu_and_more_actors_than_fit(run: Run) -> None:
    colours = write_images(run.source, 20)
    report = run(cpus=1, actors=ActorRange(1, 4))
    assert report.counts.ok == len(colours)
    assert "--actors asks for up to 4 actors of 1 CPU; 1 fit on 1 CPU, so 1 will run" in run.said


def test_actors_that_claim_every_cpu(run: Run) -> None:
    colours = write_images(run.source, 20)
    assert run(cpus=2, claim=ActorClaim(2)).counts.ok == len(colours)
    assert {tuple(rest) for _, *rest in run.loads()} == {("2", "1", "2")}


def test_what_can_never_fit_is_refused_before_ray_starts(run: Run) -> None:
    write_images(run.source, 30)
    with pytest.raises(UsageError, match="at least 3 actors of 1 CPU, but only 2 fit"):
        run(actors=ActorRange(3, 8))
    with pytest.raises(UsageError, match="an actor needs 3 CPUs"):
        run(claim=ActorClaim(3))
    assert not run.output.exists()


def test_a_part_that_went_missing_is_made_again_and_only_that(run: Run) -> None:
    write_images(run.source, 40)
    run()
    rows = run.stable_rows()
    lost = run.output / "part-00002.parquet"
    content = lost.read_bytes()
    lost.unlink()
    (run.output / ".part-00002.parquet.0123456789abcdef.tmp").write_bytes(content[:100])
    kept = run.parts()
    report = run()
    assert (report.num_before, report.counts.total) == (32, 40)
    assert run.stable_rows() == rows
    assert {path: when for path, when in run.parts().items() if path != lost} == kept
    assert not list(run.output.glob(".part*"))


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
    with pytest.raises(UsageError, match=r"num_images 16 → 17; image 7 was '1/00001.png' .* and is '0/00099.png'"):
        run()
    assert run.rows() == before


def test_overwriting_begins_anew_and_spares_what_no_run_wrote(run: Run) -> None:
    write_images(run.source, 16)
    run()
    write_file(run.output / "_notes.txt", b"mine")
    write_images(run.source, 1, first=99)
    report = run(overwrite=True, search=SearchOverrides(beam_width=5))
    assert (report.num_before, report.counts.ok) == (0, 17)
    assert {row["beam_width"] for row in run.rows().values()} == {5}
    assert (run.output / "_notes.txt").read_bytes() == b"mine"


def test_the_first_images_alone(run: Run) -> None:
    colours = write_images(run.source, 30)
    assert run(limit=11).counts.ok == 11
    assert list(run.rows()) == sorted(colours)[:11]


def test_failed_images_that_were_mended_are_tried_again_and_their_rows_replaced(run: Run) -> None:
    colours = write_images(run.source, 32)
    mended, hopeless = sorted(colours)[9], sorted(colours)[30]
    for name in (mended, hopeless):
        write_file(run.source / name, b"")
    run()
    before, rows = run.parts(), run.stable_rows()
    write_file(run.source / mended, plain(colours[mended]))
    with pytest.raises(UsageError, match=rf"'{mended}' \(0 bytes\) and is '{mended}'"):
        run()
    report = run(retry_failed=frozenset(ErrorKind))
    assert report.tally.counts == OutcomeCounts(1, {"empty": 1})
    assert report.counts == OutcomeCounts(31, {"empty": 1})
    assert run.rows()[mended]["caption"] == expected_caption(colours[mended])
    assert {n: row for n, row in run.stable_rows().items() if n != mended} == {
        n: row for n, row in rows.items() if n != mended
    }
    after = run.parts()
    assert sum(after[path] != before[path] for path in before) == 2, "only the parts with failed images"
    assert run().tally.counts == OutcomeCounts(), "mended files are the input from now on"


def test_a_parquet_file_that_was_written_anew_is_another_input(run: Run) -> None:
    def write(colour: Colour) -> None:
        columns = {"image": [plain(colour)] * 12, "thumb": [plain()] * 12}
        pq.write_table(pa.table(columns), run.source / "images.parquet")

    run.source.mkdir()
    write((1, 2, 3))
    inputs = (str(run.source / "images.parquet"),)
    options = InputOptions(image_column="image")
    run(inputs=inputs, options=options)
    assert run(inputs=inputs, options=options).tally.num_shards == 0
    with pytest.raises(UsageError, match="input_version"):
        run(inputs=inputs, options=InputOptions(image_column="thumb"))
    write((3, 2, 1))
    with pytest.raises(UsageError, match="input_version"):
        run(inputs=inputs, options=options)


def test_a_loader_that_breaks_is_told_in_one_line(run: Run) -> None:
    write_images(run.source, 4)
    with pytest.raises(CapstanError, match="RuntimeError: out of order") as caught:
        run(fake_spec(FakeLoader(breaks=True)))
    assert "\n" not in str(caught.value)


def test_too_many_failures_stop_the_run_with_the_reason(run: Run) -> None:
    write_images(run.source, 20)
    for index in range(300):
        write_file(run.source / "-" / f"{index:03d}.png", b"")
    # The good ones come last, and take so long that none is done before the run is stopped.
    slow = fake_spec(FakeLoader(delay_s=20.0))
    with pytest.raises(CapstanError, match=r"images failed \([0-9]+ empty\), which is more than the share of 0.5"):
        run(slow, max_error_rate=0.5)
    assert 0 < len(run.parts()) < 40
    assert not (run.output / "_SUCCESS").exists()
    with pytest.raises(CapstanError, match=r"more than the share of 0\.9 "):
        run(slow, max_error_rate=0.9)
    assert run(max_error_rate=1).counts == OutcomeCounts(20, {"empty": 300})


def test_search_settings_reach_the_captioner(run: Run) -> None:
    write_images(run.source, 4)
    run(search=SearchOverrides(beam_width=7))
    assert {row["score"] for row in run.rows().values()} == {-7.0}


def test_a_captioner_that_does_not_load_ends_the_run_with_its_reason(run: Run) -> None:
    write_images(run.source, 16)
    with pytest.raises(CapstanError, match="no runtime on this machine"):
        run(fake_spec(FakeLoader(fails=True)))
    assert run.parts() == {}


def test_an_image_that_kills_its_workers_is_a_failed_row(run: Run) -> None:
    colours = write_images(run.source, 24)
    write_file(run.source / "0" / "00000.png", plain(DEADLY))
    report = run()
    assert report.counts == OutcomeCounts(23, {"crashed": 1})
    rows = run.rows()
    assert rows["0/00000.png"]["error_kind"] == "crashed"
    assert all(rows[name]["caption"] == expected_caption(colours[name]) for name in colours if name != "0/00000.png")


def test_an_image_that_kills_decoding_tasks_is_a_failed_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = write_images(run.source, 24)
    notes, deadly = run.calls.with_name("notes"), "0/00003.png"
    notes.mkdir()
    strange = StrangeSource(run.source, notes=notes, deadly=frozenset([deadly]))
    monkeypatch.setattr(FolderSource, "at", lambda *_, **__: strange)
    report = run(claim=ActorClaim(1, decoders=1))
    assert report.counts == OutcomeCounts(23, {"crashed": 1})
    rows = run.rows()
    assert rows[deadly]["error_kind"] == "crashed"
    assert all(rows[name]["caption"] == expected_caption(colours[name]) for name in colours if name != deadly)
    actors = {process for process, *_ in run.loads()}
    assert {path.name for path in notes.iterdir()} - actors, "tasks read, too"


@pytest.mark.parametrize("what", ["missing", "a file", "empty"])
def test_a_wrong_input_is_refused(run: Run, what: str) -> None:
    if what == "a file":
        write_file(run.source, b"")
    elif what == "empty":
        write_file(run.source / "notes.txt", b"")
    with pytest.raises(UsageError, match=str(run.source)):
        run()
    assert not run.output.exists()
