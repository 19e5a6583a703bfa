"""Progress: lines for logs, a bar for terminals, and a word when nothing happens."""

from __future__ import annotations

import io
import time

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.progress import BarProgress, LineProgress, show_progress, stall_notices


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_stream_gets_the_display_that_suits_it() -> None:
    assert isinstance(show_progress(1, 0, io.StringIO()), LineProgress)
    assert isinstance(show_progress(1, 0, Terminal()), BarProgress)


def test_lines_have_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(10_000, 1_000, stream, clock)
    for now_s, counts in [
        (30.0, OutcomeCounts(500)),
        (35.0, OutcomeCounts(480, {"corrupt": 20})),  # too soon for a line
        (40.0, OutcomeCounts(500)),
        (60.0, OutcomeCounts(1_000)),
    ]:
        clock.now_s = now_s
        progress.add(counts)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "1,500 / 10,000 images (15 %)",
        "2,500 / 10,000 images (25 %), 20 failed, 100.0 images/s, 1 min 15 s left",
        "3,500 / 10,000 images (35 %), 20 failed, 66.7 images/s, 1 min 38 s left",
    ]


def test_the_last_state_is_shown_once() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(20_000_000, 0, stream, clock)
    progress.add(OutcomeCounts(100))
    clock.now_s = 1.0
    progress.add(OutcomeCounts(1_000))
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "100 / 20,000,000 images (0 %)",
        "1,100 / 20,000,000 images (0 %), 1000.0 images/s, 5 h 33 min left",
    ]


def test_a_run_without_a_shard_shows_no_state() -> None:
    stream = io.StringIO()
    LineProgress(10, 0, stream).close()
    assert stream.getvalue() == ""


def test_the_bar_counts_images_and_failures() -> None:
    stream = Terminal()
    progress = BarProgress(10, 2, stream)
    progress.note("a sentence")
    progress.add(OutcomeCounts(5, {"corrupt": 3}))
    progress.close()
    assert "10/10" in stream.getvalue()
    assert "3 failed" in stream.getvalue()
    assert "a sentence\n" in stream.getvalue()


def wait_for(text: str, stream: io.StringIO) -> bool:
    end_s = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < end_s:
        time.sleep(0.01)
    return text in stream.getvalue()


def test_a_stall_is_explained() -> None:
    stream = io.StringIO()
    with stall_notices(LineProgress(1, 0, stream), lambda: "0 of 2 CPUs are free", after_s=0.02):
        assert wait_for("no shard finished in the last 0 s: 0 of 2 CPUs are free", stream)


def test_a_reason_that_cannot_be_found_does_not_end_the_notices() -> None:
    stream = io.StringIO()

    def fail() -> str:
        raise ConnectionError("the cluster is gone")

    with stall_notices(LineProgress(1, 0, stream), fail, after_s=0.02):
        assert wait_for("the cluster is gone", stream)


def test_without_a_stall_nothing_is_said() -> None:
    stream = io.StringIO()
    with stall_notices(LineProgress(1, 0, stream), lambda: "why", after_s=60) as happened:
        for _ in range(3):
            happened()
    assert stream.getvalue() == ""
