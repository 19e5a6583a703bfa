"""A shard becomes a part: one row an image whatever the images are, and no row of a broken captioner."""

from __future__ import annotations

import errno
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from caption_core.archive.attempts import AttemptLog
from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.parts import part_name, read_footer
from caption_core.archive.plan_files import PlanReader, write_plan
from caption_core.archive.run_record import begin_record, state_folder, write_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.source import ImageReader, SourceImage
from caption_core.archive.storage import Storage
from caption_core.captioner import Captioner
from caption_core.engine import shard_captioner
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.image_loader import MAX_GIVEN_UP
from caption_core.engine.shard_captioner import ShardCaptioner
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.errors import CapstanError
from caption_core.images import ImageLimits
from caption_core.records import Caption, ErrorKind, ImageRef
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
        self.storage = Storage.at(self.output)
        self.state = state_folder(self.storage)

    def plan(self) -> None:
        """List the input as one shard."""
        plan_folder = self.state.sub("plan-0")
        plan_folder.make()
        refs = write_plan(FolderSource.at(self.source).list_refs(), plan_folder)
        plan = ShardPlan(refs.num_images, 1000, refs.digest)
        write_record(self.storage, begin_record(IDENTITY, plan, "plan-0", ["in"]))

    def work(self, captioner: CaptionerSpec | None = None, batch_size: int = 4) -> CaptioningWork:
        return CaptioningWork(
            source=FolderSource.at(self.source),
            output=self.storage,
            captioner=captioner or fake_spec(),
            search=SEARCH,
            limits=ImageLimits(),
            identity=IDENTITY,
            batch_size=batch_size,
            threads=2,
        )

    def rows(self) -> dict[str, dict[str, object]]:
        rows = pq.read_table(self.output / part_name(0)).to_pylist()
        refs = PlanReader(self.state.sub("plan-0")).refs(range(len(rows)))
        assert [row["image_id"] for row in rows] == [ref.image_id for ref in refs]
        return {row["image_id"]: row for row in rows}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def caption(folders: Folders, spec: CaptionerSpec | None = None, batch_size: int = 4) -> dict[str, dict[str, object]]:
    folders.plan()
    return run(folders, folders.work(spec, batch_size))[1]


def run(folders: Folders, work: CaptioningWork) -> tuple[ShardSummary, dict[str, dict[str, object]]]:
    """Caption the planned shard by a worker of its own."""
    summary = ShardCaptioner(work).caption_shard(0)
    rows = folders.rows()
    footer = read_footer(folders.storage, part_name(0))
    assert footer.counts.total == len(rows)
    assert footer.counts.ok == sum(row["status"] == "ok" for row in rows.values())
    assert footer.fingerprint == IDENTITY.fingerprint
    if work.retry is None:
        assert summary.counts == footer.counts
    return summary, rows


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


class OverflowingCaptioner(FakeCaptioner):
    """Scores bright images with what is no number."""

    def _say(self, image: NDArray[np.uint8], search: SearchSettings) -> Caption:
        caption = super()._say(image, search)
        return replace(caption, score=self.no_number) if image.mean() > self.brightest else caption

    no_number, brightest = math.nan, 200


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_a_score_that_is_no_number_is_a_failure(folders: Folders, score: float) -> None:
    write_colours(folders, [(0, 0, 0), (255, 255, 255), (9, 9, 9)])
    captioner = OverflowingCaptioner()
    captioner.no_number = score
    rows = caption(folders, spec_of(captioner))
    assert [row["error_kind"] for row in rows.values()] == [None, "inference_failed", None]
    assert f"score is {score}" in str(rows["1.png"]["error_message"])
    assert rows["1.png"]["caption"] is rows["1.png"]["score"] is None


def test_a_captioner_whose_scores_are_never_numbers_is_broken(folders: Folders) -> None:
    folders.plan()
    captioner = OverflowingCaptioner()
    captioner.brightest = 0
    with pytest.raises(CapstanError, match="fails on any image: its caption's score is nan"):
        ShardCaptioner(folders.work(spec_of(captioner)))


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
    folders.plan()
    worker = ShardCaptioner(folders.work(spec_of(BreakingCaptioner(calls=2))))
    with pytest.raises(CapstanError, match="fails on any image: device lost"):
        worker.caption_shard(0)
    assert not (folders.output / part_name(0)).exists()


def test_a_captioner_that_never_worked_is_told_before_any_shard(folders: Folders) -> None:
    folders.plan()
    with pytest.raises(CapstanError, match="fails on any image: device lost"):
        ShardCaptioner(folders.work(spec_of(BreakingCaptioner(calls=0))))


def test_a_captioner_that_loses_captions_is_broken(folders: Folders) -> None:
    class Forgetful(FakeCaptioner):
        def caption(self, images, search=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return super().caption(images, search)[1:]

    folders.plan()
    with pytest.raises(CapstanError, match="0 captions for 1 images"):
        ShardCaptioner(folders.work(spec_of(Forgetful())))


@pytest.mark.parametrize("there", [False, True])
def test_a_float_captioner_that_finds_no_gpu_where_one_was_claimed_says_so(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr("caption_core.runtimes.tensorflow.has_gpu", lambda: there)
    folders.plan()
    work = replace(folders.work(replace(fake_spec(), runtime="tensorflow")), gpus=0.5)
    with nullcontext() if there else pytest.raises(CapstanError, match=r"TensorFlow finds none .* leave out --gpus"):
        ShardCaptioner(work)


def test_another_captioner_than_planned_is_refused(folders: Folders) -> None:
    folders.plan()
    spec = replace(fake_spec(), load=FakeLoader(model_id="fake@111111111111"))
    with pytest.raises(CapstanError, match="fake@000000000000 → fake@111111111111"):
        ShardCaptioner(folders.work(spec))


def test_a_machine_without_the_folders_is_refused(folders: Folders) -> None:
    folders.plan()
    elsewhere = replace(folders.work(), source=FolderSource(folders.source / "nowhere"))
    with pytest.raises(CapstanError, match="input folder"):
        ShardCaptioner(elsewhere)
    with pytest.raises(CapstanError, match="output folder"):
        ShardCaptioner(replace(folders.work(), output=Storage.at(folders.source)))


def test_a_committed_shard_is_not_captioned_again(folders: Folders) -> None:
    write_images(folders.source, 5)
    folders.plan()
    first, _ = run(folders, folders.work())
    before = written(folders.output / part_name(0))
    captioner = FakeCaptioner()
    again, _ = run(folders, folders.work(spec_of(captioner)))
    assert again.counts == first.counts
    assert captioner.batches == [1], "only the probe"
    assert written(folders.output / part_name(0)) == before


def test_images_are_batched_across_bad_ones(folders: Folders) -> None:
    write_images(folders.source, 10)
    write_hostile_folder(folders.source, folders.source.with_name("outside.png"))
    captioner = FakeCaptioner()
    caption(folders, spec_of(captioner), batch_size=4)
    assert captioner.batches == [1, 4, 4, 2]


def test_a_shard_whose_workers_keep_dying_without_a_culprit_is_given_up(folders: Folders) -> None:
    write_images(folders.source, 1)
    folders.plan()
    worker = ShardCaptioner(folders.work())
    for _ in range(6):
        AttemptLog(folders.state, 0).begin()  # and then the process died
    with pytest.raises(CapstanError, match="workers died 6 times, and not of one image"):
        worker.caption_shard(0)


def test_the_image_that_killed_its_workers_is_left_out(folders: Folders) -> None:
    colours = write_images(folders.source, 9)
    folders.plan()
    for _ in range(2):
        AttemptLog(folders.state, 0).begin()
    for _ in range(2):
        log = AttemptLog(folders.state, 0)
        log.begin()
        log.suspect(4)
    captioner = FakeCaptioner()
    _, rows = run(folders, folders.work(spec_of(captioner)))
    condemned = sorted(colours)[4]
    assert {name for name, row in rows.items() if row["error_kind"] == "crashed"} == {condemned}
    assert all(rows[name]["caption"] == expected_caption(colours[name]) for name in colours if name != condemned)
    assert set(captioner.batches) == {1}, "images are captioned one by one while a culprit is looked for"
    assert AttemptLog(folders.state, 0).begin().number == 1, "the image noted last is blamed for what happens later"


def test_a_full_disk_is_an_error_of_the_run_not_of_the_images(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_images(folders.source, 1)
    folders.plan()
    monkeypatch.setattr(shard_captioner, "write_part", fail)
    with pytest.raises(OSError, match="No space left"):
        ShardCaptioner(folders.work()).caption_shard(0)
    assert AttemptLog(folders.state, 0).begin().number == 1, "an exception counts as a worker's death"


def test_files_that_vanish_after_the_listing_are_rows(folders: Folders) -> None:
    names = list(write_images(folders.source, 3))
    folders.plan()
    (folders.source / names[1]).unlink()
    _, rows = run(folders, folders.work())
    assert rows[names[1]]["error_kind"] == "not_found"
    assert len(rows) == 3


def test_rows_tell_content_and_cost(folders: Folders) -> None:
    write_images(folders.source, 5)
    write_file(folders.source / "bad.png", b"no image")
    rows = caption(folders)
    for name, row in rows.items():
        assert row["content_sha256"] == hashlib.sha256((folders.source / name).read_bytes()).hexdigest()
        assert (row["decode_ms"] is None) == (row["infer_ms"] is None) == (name == "bad.png")


def test_equal_images_are_captioned_once_on_request(folders: Folders) -> None:
    colours = write_images(folders.source, 3)
    for index in range(4):
        write_file(folders.source / f"copy{index}.png", plain(next(iter(colours.values()))))
        write_file(folders.source / f"bad{index}.png", b"no image")
    folders.plan()
    captioner = FakeCaptioner()
    _, rows = run(folders, replace(folders.work(spec_of(captioner)), dedup=True))
    assert sum(captioner.batches) == 1 + 3, "the probe, and each content"
    for index in range(4):
        assert rows[f"copy{index}.png"]["caption"] == rows[next(iter(colours))]["caption"]
        assert rows[f"copy{index}.png"]["width"] == 40
        assert rows[f"bad{index}.png"]["error_kind"] == "not_an_image"


def test_failures_are_tried_again_on_request_and_nothing_else(folders: Folders) -> None:
    colours = write_images(folders.source, 6)
    broken, hopeless = sorted(colours)[1], sorted(colours)[4]
    write_file(folders.source / broken, b"")
    write_file(folders.source / hopeless, b"no image")
    folders.plan()
    _, before = run(folders, folders.work())
    write_file(folders.source / broken, plain(colours[broken]))
    captioner = FakeCaptioner()
    summary, after = run(folders, replace(folders.work(spec_of(captioner)), retry=frozenset(ErrorKind)))
    assert summary.counts == OutcomeCounts(1, {"not_an_image": 1})
    assert captioner.batches == [1, 1], "the probe, and the image that can be read now"
    assert after[broken]["caption"] == expected_caption(colours[broken])
    assert after[hopeless]["error_kind"] == "not_an_image"
    untouched = colours.keys() - {broken, hopeless}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


class AnnouncedReader:
    """Remembers what it was told to get ready."""

    announced: ClassVar[list[str]] = []

    def __init__(self, inner: ImageReader) -> None:
        self._inner = inner

    def begin(self, refs: Sequence[ImageRef], beat: Callable[[], None] = lambda: None) -> None:
        self.announced[:] = [ref.image_id for ref in refs]
        self._inner.begin(refs, beat=beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        return self._inner.read(ref, max_bytes)

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class AnnouncedSource(FolderSource):
    def open_reader(self) -> ImageReader:
        return AnnouncedReader(super().open_reader())


def test_a_retry_has_only_failed_images_made_ready(folders: Folders) -> None:
    write_images(folders.source, 9)
    write_file(folders.source / "bad.png", b"")
    folders.plan()
    work = replace(folders.work(), source=AnnouncedSource(folders.source.resolve()))
    run(folders, work)
    assert len(AnnouncedReader.announced) == 10
    run(folders, replace(work, retry=frozenset(ErrorKind)))
    assert AnnouncedReader.announced == ["bad.png"]


def test_only_failures_of_the_given_kinds_are_tried_again(folders: Folders) -> None:
    write_file(folders.source / "a.png", b"")
    write_file(folders.source / "b.png", b"no image")
    folders.plan()
    run(folders, folders.work())
    before = written(folders.output / part_name(0))
    summary, _ = run(folders, replace(folders.work(), retry=frozenset({ErrorKind.TIMED_OUT})))
    assert summary.counts == OutcomeCounts()
    assert written(folders.output / part_name(0)) == before
    summary, _ = run(folders, replace(folders.work(), retry=frozenset({ErrorKind.EMPTY})))
    assert summary.counts == OutcomeCounts(0, {"empty": 1})


class StuckReader:
    """Hangs on images whose names say so, until it is released."""

    release = threading.Event()

    def __init__(self, inner: ImageReader) -> None:
        self._inner = inner

    def begin(self, refs: Sequence[ImageRef], beat: Callable[[], None] = lambda: None) -> None:
        self._inner.begin(refs, beat=beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        if "stuck" in ref.image_id:
            self.release.wait()
        return self._inner.read(ref, max_bytes)

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class StuckSource(FolderSource):
    def open_reader(self) -> ImageReader:
        return StuckReader(super().open_reader())


class CarryingReader(StuckReader):
    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        return replace(super().read(ref, max_bytes), carried={"name": ref.image_id, "text": "read"})


@dataclass(frozen=True)
class CarryingSource(FolderSource):
    """Its references hold names; texts are read with the images, some of which hang."""

    def carried(self) -> pa.Schema:
        return pa.schema([("name", pa.string()), ("text", pa.string())])

    def carried_in(self, ref: ImageRef) -> Mapping[str, str]:
        return {"name": ref.image_id}

    def open_reader(self) -> ImageReader:
        return CarryingReader(super().open_reader())


@pytest.fixture
def stuck(folders: Folders) -> Iterator[CaptioningWork]:
    """Work on a folder in which some images hang."""
    StuckReader.release.clear()
    yield replace(folders.work(), source=StuckSource(folders.source.resolve()), image_timeout_s=0.3)
    StuckReader.release.set()


def test_an_image_that_hangs_is_a_row_and_the_others_are_captioned(folders: Folders, stuck: CaptioningWork) -> None:
    colours = write_images(folders.source, 20)
    write_file(folders.source / "stuck.png", plain())
    folders.plan()
    _, rows = run(folders, stuck)
    assert {name: row["error_kind"] for name, row in rows.items()} == {
        **dict.fromkeys(colours),
        "stuck.png": "timed_out",
    }


def test_an_image_equal_to_one_that_hangs_has_its_own_caption(folders: Folders, stuck: CaptioningWork) -> None:
    write_file(folders.source / "a_stuck.png", plain((9, 9, 9)))
    for name in ("b.png", "c.png"):
        write_file(folders.source / name, plain((9, 9, 9)))
    folders.plan()
    _, rows = run(folders, replace(stuck, dedup=True))
    assert [row["error_kind"] for row in rows.values()] == ["timed_out", None, None]
    assert rows["b.png"]["caption"] == rows["c.png"]["caption"] == expected_caption((9, 9, 9))


def test_a_shard_in_which_everything_hangs_is_not_tried_to_its_end(folders: Folders, stuck: CaptioningWork) -> None:
    for index in range(30):
        write_file(folders.source / f"stuck{index:02d}.png", plain())
    folders.plan()
    worker = ShardCaptioner(stuck)
    summary = worker.caption_shard(0)
    rows = folders.rows()
    assert worker.is_worn_out, "with so many threads that hang the process is to be replaced"
    assert summary.counts == OutcomeCounts(0, {"timed_out": 30})
    not_tried = [row for row in rows.values() if str(row["error_message"]).startswith("not tried")]
    assert len(not_tried) == 30 - MAX_GIVEN_UP


def test_images_that_were_not_read_to_the_end_carry_what_their_references_hold(
    folders: Folders, stuck: CaptioningWork
) -> None:
    for index in range(MAX_GIVEN_UP + 3):
        write_file(folders.source / f"stuck{index:02d}.png", plain())
    write_file(folders.source / "a.png", plain())
    folders.plan()
    for _ in range(4):
        log = AttemptLog(folders.state, 0)
        log.begin()
        log.suspect(1)
    carrying = replace(stuck, source=CarryingSource(folders.source.resolve()))
    _, rows = run(folders, carrying)
    assert {row["error_kind"] for row in rows.values()} == {None, "crashed", "timed_out"}
    assert {name: (row["name"], row["text"]) for name, row in rows.items()} == {
        name: (name, "read" if name == "a.png" else None) for name in rows
    }


def test_a_retry_that_hangs_leaves_what_an_earlier_try_had_read(folders: Folders, stuck: CaptioningWork) -> None:
    write_file(folders.source / "stuck.png", b"no image")
    folders.plan()
    carrying = replace(stuck, source=CarryingSource(folders.source.resolve()))
    StuckReader.release.set()
    _, before = run(folders, carrying)
    StuckReader.release.clear()
    _, after = run(folders, replace(carrying, retry=frozenset(ErrorKind)))
    kinds = [rows["stuck.png"]["error_kind"] for rows in (before, after)]
    assert kinds == ["not_an_image", "timed_out"]
    assert after["stuck.png"]["text"] == "read"
