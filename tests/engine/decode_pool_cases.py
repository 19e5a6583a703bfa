"""Tasks on the cluster load what the actor would, and what they can't give back the actor loads itself.

Run by `test_decode_pool.py` in a process of their own: Ray Data's threads outlive what they are waited for, and where
one of them still asks for a stream of blocks after its Ray has ended, Ray ends the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.source import no_beat
from caption_core.archive.storage import Storage
from caption_core.engine import decode_pool
from caption_core.engine.cluster import ClusterConfig, connected
from caption_core.engine.decode_pool import DecodePool
from caption_core.engine.image_loader import MAX_GIVEN_UP, ImageLoader, LoadedImage, LoadRequest
from caption_core.engine.work import CaptioningWork
from caption_core.errors import ImageError
from caption_core.images import DecodedImage, ImageLimits
from caption_core.records import ErrorKind, ImageRef
from caption_core.search import SearchSettings
from tests.builders import write_hostile_folder, write_images
from tests.fake_captioner import fake_spec
from tests.strange_source import StrangeSource

SIZE = (32, 48)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    with connected(ClusterConfig(cpus=2)):
        yield


def work_on(folder: Path, output: Path) -> CaptioningWork:
    return CaptioningWork(
        source=FolderSource.at(folder),
        output=Storage.at(str(output)),
        captioner=fake_spec(),
        search=SearchSettings(),
        limits=ImageLimits(),
        identity=RunIdentity({"output": str(output)}),
        batch_size=4,
        threads=1,
        decoders=2,
    )


def strange_work(folder: Path, **strange: frozenset[str]) -> CaptioningWork:
    """Work whose tasks die of `deadly` images; this process is spared."""
    (folder / "notes").mkdir()
    source = StrangeSource(folder / "in", notes=folder / "notes", spared_pid=os.getpid(), **strange)  # type: ignore[arg-type]
    return replace(work_on(folder / "in", folder / "out"), source=source)


def refs_of(folder: Path) -> list[ImageRef]:
    return [ref for batch in FolderSource.at(folder).list_refs() for ref in batch_to_refs(batch)]


def loaded(
    work: CaptioningWork, refs: Sequence[ImageRef], positions: Sequence[int]
) -> tuple[list[LoadedImage], list[LoadedImage]]:
    """What the pool gives, and the actor's own loader."""
    own = ImageLoader(work, SIZE)
    wanted = LoadRequest(refs, positions, 8, 4)
    return list(DecodePool(work, SIZE, own, no_beat).load(wanted)), list(own.load(wanted))


def assert_equal(some: Sequence[LoadedImage], others: Sequence[LoadedImage]) -> None:
    assert [one.position for one in some] == [other.position for other in others]
    for one, other in zip(some, others, strict=True):
        assert (one.sha256, one.num_bytes) == (other.sha256, other.num_bytes)
        if isinstance(one.result, DecodedImage):
            assert isinstance(other.result, DecodedImage)
            assert np.array_equal(one.result.pixels, other.result.pixels)
        else:
            assert isinstance(one.result, ImageError)
            assert isinstance(other.result, ImageError)
            assert (one.result.kind, str(one.result)) == (other.result.kind, str(other.result))


def test_tasks_load_what_the_actor_would(tmp_path: Path) -> None:
    write_images(tmp_path / "in", 9)
    write_hostile_folder(tmp_path / "in", tmp_path / "outside.png")
    refs = refs_of(tmp_path / "in")
    assert len(refs) > 9
    through_tasks, own = loaded(work_on(tmp_path / "in", tmp_path / "out"), refs, range(len(refs)))
    assert_equal(through_tasks, own)


@pytest.mark.parametrize("positions", [[], [3], [8, 2, 5, 1, 7]])
def test_some_positions_of_a_shard(tmp_path: Path, positions: list[int]) -> None:
    write_images(tmp_path / "in", 9)
    through_tasks, own = loaded(work_on(tmp_path / "in", tmp_path / "out"), refs_of(tmp_path / "in"), positions)
    assert [image.position for image in own] == positions
    assert_equal(through_tasks, own)


def test_an_image_that_kills_tasks_is_left_to_the_actor(tmp_path: Path) -> None:
    names = list(write_images(tmp_path / "in", 10))
    work = strange_work(tmp_path, deadly=frozenset([names[5]]))
    through_tasks, own = loaded(work, refs_of(tmp_path / "in"), range(10))
    assert sorted(image.position for image in through_tasks) == list(range(10))
    assert_equal(sorted(through_tasks, key=lambda image: image.position), own)


def test_the_actor_reads_nothing_itself_and_beats_meanwhile(tmp_path: Path) -> None:
    write_images(tmp_path / "in", 80)
    work = strange_work(tmp_path)
    refs, beats = refs_of(tmp_path / "in"), list[float]()
    pool = DecodePool(work, SIZE, ImageLoader(work, SIZE), lambda: beats.append(time.monotonic()))
    assert [image.position for image in pool.load(LoadRequest(refs, range(80), 8, 4))] == list(range(80))
    assert not (tmp_path / "notes" / str(os.getpid())).exists()
    assert beats


def test_images_that_hang_are_given_up_and_so_at_last_is_their_shard(tmp_path: Path) -> None:
    names = list(write_images(tmp_path / "in", 40))
    work = replace(strange_work(tmp_path, hanging=frozenset(names[:20])), image_timeout_s=0.2)
    pool = DecodePool(work, SIZE, ImageLoader(work, SIZE), no_beat)
    images = list(pool.load(LoadRequest(refs_of(tmp_path / "in"), range(40), 8, 4)))
    assert sorted(image.position for image in images) == list(range(40))
    given_up = [image.result for image in images if isinstance(image.result, ImageError)]
    assert {error.kind for error in given_up} == {ErrorKind.TIMED_OUT}
    assert len(given_up) >= 20
    assert sum("not tried" in str(error) for error in given_up) >= len(given_up) - 2 * MAX_GIVEN_UP


def test_without_a_free_cpu_the_actor_goes_on_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_PATIENCE_S", 1.0)
    write_images(tmp_path / "in", 40)
    work = replace(strange_work(tmp_path), image_timeout_s=0.5)

    class Taker:
        def ready(self) -> bool:
            return True

    taker: Any = ray.remote(Taker).options(num_cpus=2).remote()
    assert ray.get(taker.ready.remote())
    try:
        pool = DecodePool(work, SIZE, ImageLoader(work, SIZE), no_beat)
        images = list(pool.load(LoadRequest(refs_of(tmp_path / "in"), range(40), 8, 4)))
    finally:
        ray.kill(taker)
    assert [image.position for image in images] == list(range(40))
    assert [path.name for path in (tmp_path / "notes").iterdir()] == [str(os.getpid())]


def test_a_caller_that_notes_each_image_loads_them_itself(tmp_path: Path) -> None:
    names = list(write_images(tmp_path / "in", 6))
    work = strange_work(tmp_path, deadly=frozenset(names))
    refs, noted = refs_of(tmp_path / "in"), list[int | None]()
    pool = DecodePool(work, SIZE, ImageLoader(work, SIZE), no_beat)
    assert len(list(pool.load(LoadRequest(refs, range(6), 0, 1, noted.append)))) == 6
    assert noted == [*range(6), None]
