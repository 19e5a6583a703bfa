import pytest

from caption_core.training.pace import Pace


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def fail_after(self, seconds: float) -> None:
        self.now += seconds
        raise OSError("gone")


def test_rate_share_and_what_is_left_follow_the_clock() -> None:
    clock = Clock()
    pace = Pace(clock)
    for images in (32, 32, 16, 20):
        with pace.waiting():
            clock.now += 1.0
        clock.now += 4.0
        pace.count(images)
    assert pace.elapsed_s == 20.0
    assert pace.images_per_s == 5.0
    assert pace.waiting_share == 0.2
    assert pace.figures() == {"train_s": 20.0, "images_per_s": 5.0, "waiting_share": 0.2}
    assert pace.remaining_s(740) == 3700.0
    assert pace.describe(3700.0 + 60) == "5.0 images/s, 20% waiting for input, 1:02:40 left in the stage"


def test_time_spent_waiting_counts_even_if_the_input_fails() -> None:
    clock = Clock()
    pace = Pace(clock)
    with pytest.raises(OSError, match="gone"), pace.waiting():
        clock.fail_after(3.0)
    assert pace.waiting_share == 1.0


def test_nothing_is_promised_before_the_first_update() -> None:
    assert Pace(Clock()).remaining_s(3) == float("inf")
    assert Pace(Clock()).images_per_s == 0.0
