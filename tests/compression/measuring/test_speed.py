from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from caption_core.errors import CapstanError
from compression.measurement import Speed
from compression.measuring import speed
from compression.measuring.speed import measure_speeds
from compression.measuring.timing import Timing

BUNDLES = {"a": Path("a"), "b": Path("b")}


class FakeProcesses:
    """Takes a second for each batch and a millisecond more for each image; the second repeat takes twice as long.

    Bundle b takes ten seconds for a batch of 32.
    """

    def __init__(self) -> None:
        self.visits: list[tuple[str, list[tuple[int, int, int, bool]]]] = []
        self.threads: list[int] = []

    def __call__(
        self, task: str, bundle: Path, *, threads: int, files: Sequence[Path], passes: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        assert (task, files) == ("speed", ())
        self.threads.append(threads)
        order = ("batch", "beam_width", "images", "from_files")
        asked = [tuple(one[name] for name in order) for one in passes]
        slowness = 1 + [visit for visit, _ in self.visits].count(bundle.name) // 2
        self.visits.append((bundle.name, asked))
        return [self._times(bundle, one, slowness) for one in passes]

    def _times(self, bundle: Path, one: dict[str, Any], slowness: int) -> dict[str, Any]:
        batch_s = slowness * (10 if bundle.name == "b" and one["batch"] == 32 else 1 + one["batch"] / 1000)
        batches = one["images"] // one["batch"]
        if one["from_files"]:
            return {"seconds": 2 * batch_s * batches}
        return {"batch_s": [batch_s] * batches, "encode_s": batch_s * batches / 4, "search_s": batch_s * batches / 2}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> FakeProcesses:
    fake = FakeProcesses()
    monkeypatch.setattr(speed, "measure_afresh", fake)
    return fake


def measured(bundles: Mapping[str, Path], timing: Timing, **settings: Any) -> dict[str, tuple[Speed, ...]]:
    """What is known after the last repeat."""
    return list(measure_speeds(bundles, timing, **settings))[-1]


def test_captioners_take_turns_after_a_round_that_tries_batches(processes: FakeProcesses) -> None:
    measured(BUNDLES, Timing(threads=(1,), batches=(32, 1, 8), images=40, repeats=2))
    assert [name for name, _ in processes.visits] == ["a", "b", "a", "b", "a", "b"]
    # Ten images make one batch of 32 and two of 8.
    assert processes.visits[0][1] == processes.visits[1][1] == [(8, 3, 16, False), (32, 3, 32, False)]
    assert processes.visits[2][1] == [(1, 3, 40, False), (32, 3, 64, False), (32, 3, 64, True)]
    assert processes.visits[3][1] == [(1, 3, 40, False), (8, 3, 40, False), (8, 3, 40, True)]


def test_speeds_are_medians_of_the_repeats(processes: FakeProcesses) -> None:
    found = measured(BUNDLES, Timing(threads=(1,), batches=(1, 8, 32), images=40, repeats=2))
    single, batched = found["a"]
    assert len(processes.visits) == 2 + 2 * 2
    assert (single.batch, batched.batch, single.images, batched.images) == (1, 32, 40, 64)
    assert (single.threads, single.beam_width, single.repeats) == (1, 3, 2)
    # 1.001 s an image in the first repeat, 2.002 s in the second.
    fast, slow = 1 / 1.001, 1 / 2.002
    assert single.images_per_s == pytest.approx((fast + slow) / 2)
    assert single.spread == pytest.approx((fast - slow) / ((fast + slow) / 2))
    assert single.p50_ms == pytest.approx(1501.5)
    assert single.p95_ms == pytest.approx(2002)
    assert single.encode_images_per_s == pytest.approx(4 * single.images_per_s)
    assert single.search_images_per_s == pytest.approx(2 * single.images_per_s)
    assert single.files_images_per_s is single.minutes() is None
    assert batched.files_images_per_s == pytest.approx(batched.images_per_s / 2)
    assert batched.minutes(600) == pytest.approx(600 / 60 / (batched.images_per_s / 2))


def test_each_repeat_adds_to_what_is_known(processes: FakeProcesses) -> None:
    first, second = measure_speeds(BUNDLES, Timing(threads=(1,), batches=(1, 8, 32), images=4, repeats=2))
    assert len(processes.visits) == 2 + 2 * 2
    assert [speeds["b"][0].repeats for speeds in (first, second)] == [1, 2]
    assert first["b"][0].images_per_s > second["b"][0].images_per_s


def test_what_was_measured_of_one_number_of_threads_stays_beside_the_next(
    processes: FakeProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timing, "check_cores", lambda _: None)
    timing = Timing(threads=(1, 2), batches=(4,), images=4, repeats=2)
    known = [[(one.threads, one.repeats) for one in speeds["a"]] for speeds in measure_speeds(BUNDLES, timing)]
    assert known == [[(1, 1)], [(1, 2)], [(1, 2), (2, 1)], [(1, 2), (2, 2)]]
    assert processes.threads == [1, 1, 1, 1, 2, 2, 2, 2]


def test_every_beam_is_measured(processes: FakeProcesses) -> None:
    timing = Timing(threads=(1,), batches=(4,), beam_widths=(1, 3), images=4, repeats=1)
    (one, three) = measured({"a": Path("a")}, timing)["a"]
    assert [(one.batch, one.beam_width), (three.batch, three.beam_width)] == [(4, 1), (4, 3)]
    assert one.files_images_per_s is not None
    assert len(processes.visits) == 1  # one size of a batch needs no trial


def test_a_real_captioner_is_measured_in_a_real_process(tiny_int8_bundle: Path) -> None:
    timing = Timing(threads=(1,), batches=(1, 2), images=3, repeats=1)
    lines: list[str] = []
    single, pair = measured({"int8": tiny_int8_bundle}, timing, tell=lines.append)["int8"]
    assert (single.images, pair.images) == (3, 4)
    assert single.p95_ms >= single.p50_ms > 0
    assert single.images_per_s <= min(single.encode_images_per_s, single.search_images_per_s)
    assert pair.files_images_per_s is not None
    assert lines == ["speed, 1 threads: repeat 1 of 1"]


def test_a_bundle_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapstanError, match="nowhere"):
        measured({"x": tmp_path / "nowhere"}, Timing(threads=(1,), batches=(1,), images=1, repeats=1))
