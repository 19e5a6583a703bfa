"""A shard becomes a part: one row an image whatever the images are, and no row of a broken captioner."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from caption_core.archive.attempts import begin_attempt
from caption_core.archive.output_folder import held_output_folder, write_run_record
from caption_core.archive.parts import part_name, read_footer
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import Shard, plan_shards
from caption_core.archive.sources.folder import FolderSource
from caption_core.captioner import Captioner
from caption_core.engine import shard_captioner
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.shard_captioner import CaptioningWork, ShardCaptioner
from caption_core.errors import CapstanError
from caption_core.images import ImageLimits
from caption_core.search import SearchSettings
from tests.builders import Colour, plain, write_file, write_hostile_folder, write_images, written
from tests.fake_captioner import MODEL_ID, POISON, FakeCaptioner, FakeLoader, expected_caption, fake_spec

SEARCH = SearchSettings(beam_width=4)
IDENTITY = RunIdentity({"model_id": MODEL_ID, "beam_width": 4})


class Folders:
    """Input and output of a run, and the work on them."""

    def __init__(self, root: Path) -> None:
        self.source, self.output = root / "in", root / "out"
        self.source.mkdir()
        with held_output_folder(self.output):
            write_run_record(self.output, IDENTITY)

    def work(self, captioner: CaptionerSpec | None = None, batch_size: int = 4) -> CaptioningWork:
        return CaptioningWork(
            source=FolderSource.at(self.source),
            output=self.output,
            captioner=captioner or fake_spec(),
            search=SEARCH,
            limits=ImageLimits(),
            identity=IDENTITY,
            batch_size=batch_size,
            threads=2,
        )

    def shard(self) -> Shard:
        (shard,) = plan_shards(FolderSource.at(self.source).list_refs(), 1000).shards
        return shard

    def rows(self) -> dict[str, dict[str, object]]:
        rows = pq.read_table(self.output / part_name(0)).to_pylist()
        assert [row["image_id"] for row in rows] == [ref.image_id for ref in self.shard().refs]
        return {row["image_id"]: row for row in rows}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def caption(folders: Folders, spec: CaptionerSpec | None = None, batch_size: int = 4) -> dict[str, dict[str, object]]:
    summary = ShardCaptioner(folders.work(spec, batch_size)).caption_shard(folders.shard())
    rows = folders.rows()
    footer = read_footer(folders.output / part_name(0))
    assert summary.counts == footer.counts
    assert summary.counts.total == len(rows)
    assert summary.counts.ok == sum(row["status"] == "ok" for row in rows.values())
    assert footer.fingerprint == IDENTITY.fingerprint
    return rows


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_each_image_has_its_own_caption(folders: Folders, batch_size: int) -> None:
    colours = write_images(folders.source, 21)
    rows = caption(folders, batch_size=batch_size)
    for name, colour in colours.items():
        assert rows[name]["caption"] == expected_caption(colour)
        assert (rows[name]["width"], rows[name]["height"]) == (40, 30)
        assert rows[name]["score"] == -SEARCH.beam_width
        assert (rows[name]["model_id"], rows[name]["shard_id"]) == (MODEL_ID, 0)


def test_bad_files_are_rows_among_good_ones(folders: Folders) -> None:
    colours = write_images(folders.source, 9)
    kinds = write_hostile_folder(folders.source, folders.source.with_name("outside.png"))
    rows = caption(folders)
    assert {name: row["error_kind"] for name, row in rows.items()} == {**dict.fromkeys(colours), **kinds}
    for name, colour in colours.items():
        assert rows[name]["caption"] == expected_caption(colour)
    for name in kinds:
        assert rows[name]["caption"] is rows[name]["score"] is None
        assert rows[name]["error_message"]


def test_a_shard_of_bad_files_only(folders: Folders) -> None:
    kinds = write_hostile_folder(folders.source, folders.source.with_name("outside.png"))
    assert {name: row["error_kind"] for name, row in caption(folders).items()} == kinds


def write_colours(folders: Folders, colours: list[Colour]) -> None:
    for index, colour in enumerate(colours):
        write_file(folders.source / f"{index}.png", plain(colour))


def test_only_the_poisonous_image_of_a_batch_fails(folders: Folders) -> None:
    write_colours(folders, [(0, 0, 0), POISON, (9, 9, 9), (3, 3, 3), POISON])
    rows = caption(folders)
    assert [row["error_kind"] for row in rows.values()] == [None, "inference_failed", None, None, "inference_failed"]
    assert rows["1.png"]["error_message"] == "a poisonous image"
    assert (rows["1.png"]["width"], rows["1.png"]["height"]) == (40, 30)
    assert rows["2.png"]["caption"] == expected_caption((9, 9, 9))


class BreakingCaptioner(FakeCaptioner):
    """Works for a number of calls, then never again."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._calls_left = calls

    def caption(self, images, search=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        self._calls_left -= 1
        if self._calls_left < 0:
            raise RuntimeError("device lost")
        return super().caption(images, search)


def spec_of(captioner: Captioner) -> CaptionerSpec:
    return CaptionerSpec(MODEL_ID, SearchSettings(), lambda _: captioner)


def test_a_broken_captioner_writes_no_rows(folders: Folders) -> None:
    write_images(folders.source, 9)
    worker = ShardCaptioner(folders.work(spec_of(BreakingCaptioner(calls=2))))
    with pytest.raises(CapstanError, match="fails on any image: device lost"):
        worker.caption_shard(folders.shard())
    assert not (folders.output / part_name(0)).exists()


def test_a_captioner_that_never_worked_is_told_before_any_shard(folders: Folders) -> None:
    with pytest.raises(CapstanError, match="fails on any image: device lost"):
        ShardCaptioner(folders.work(spec_of(BreakingCaptioner(calls=0))))


def test_a_captioner_that_loses_captions_is_broken(folders: Folders) -> None:
    class Forgetful(FakeCaptioner):
        def caption(self, images, search=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return super().caption(images, search)[1:]

    with pytest.raises(CapstanError, match="0 captions for 1 images"):
        ShardCaptioner(folders.work(spec_of(Forgetful())))


def test_another_captioner_than_planned_is_refused(folders: Folders) -> None:
    spec = replace(fake_spec(), load=FakeLoader(model_id="fake@111111111111"))
    with pytest.raises(CapstanError, match="fake@000000000000 → fake@111111111111"):
        ShardCaptioner(folders.work(spec))


def test_a_machine_without_the_folders_is_refused(folders: Folders) -> None:
    elsewhere = replace(folders.work(), source=FolderSource(folders.source / "nowhere"))
    with pytest.raises(CapstanError, match="input folder"):
        ShardCaptioner(elsewhere)
    with pytest.raises(CapstanError, match="output folder"):
        ShardCaptioner(replace(folders.work(), output=folders.source))


def test_a_committed_shard_is_not_captioned_again(folders: Folders) -> None:
    write_images(folders.source, 5)
    shard = folders.shard()
    first = ShardCaptioner(folders.work()).caption_shard(shard)
    before = written(folders.output / part_name(0))
    captioner = FakeCaptioner()
    again = ShardCaptioner(folders.work(spec_of(captioner))).caption_shard(shard)
    assert again.counts == first.counts
    assert captioner.batches == [1], "only the probe"
    assert written(folders.output / part_name(0)) == before


def test_images_are_batched_across_bad_ones(folders: Folders) -> None:
    write_images(folders.source, 10)
    write_hostile_folder(folders.source, folders.source.with_name("outside.png"))
    captioner = FakeCaptioner()
    caption(folders, spec_of(captioner), batch_size=4)
    assert captioner.batches == [1, 4, 4, 2]


def test_a_shard_that_keeps_killing_its_worker_is_given_up(folders: Folders) -> None:
    write_images(folders.source, 1)
    worker = ShardCaptioner(folders.work())
    for _ in range(4):
        begin_attempt(folders.output, 0)  # and then the process died
    with pytest.raises(CapstanError, match="worker died 4 times"):
        worker.caption_shard(folders.shard())


def test_a_finished_shard_leaves_no_count_behind(folders: Folders) -> None:
    write_images(folders.source, 1)
    caption(folders)
    assert begin_attempt(folders.output, 0) == 1


def test_a_full_disk_is_an_error_of_the_run_not_of_the_images(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_images(folders.source, 1)
    monkeypatch.setattr(shard_captioner, "write_part", fail)
    with pytest.raises(OSError, match="No space left"):
        ShardCaptioner(folders.work()).caption_shard(folders.shard())


def test_files_that_vanish_after_the_listing_are_rows(folders: Folders) -> None:
    names = list(write_images(folders.source, 3))
    shard = folders.shard()
    (folders.source / names[1]).unlink()
    ShardCaptioner(folders.work()).caption_shard(shard)
    rows = pq.read_table(folders.output / part_name(0)).to_pylist()
    assert {row["image_id"]: row["error_kind"] for row in rows}[names[1]] == "not_found"
    assert len(rows) == 3
