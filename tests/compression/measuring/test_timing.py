import os

import pytest

from caption_core.errors import UsageError
from compression.measuring.timing import Timing


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": ()}, "threads to time must be different numbers"),
        ({"batches": (0, 8)}, "batches to time must be different numbers"),
        ({"beam_widths": (3, 3)}, "beam widths to time must be different numbers"),
        ({"images": 0}, "images to time must be at least 1"),
        ({"repeats": 0}, "repeats to time must be at least 1"),
    ],
)
def test_what_can_not_be_timed_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Timing(**settings)  # type: ignore[arg-type]


def test_threads_beyond_the_cores_are_refused() -> None:
    cores = len(os.sched_getaffinity(0))
    Timing(threads=(cores,)).check_cores()
    with pytest.raises(UsageError, match=f"{cores} cores are available"):
        Timing(threads=(1, cores + 1)).check_cores()
