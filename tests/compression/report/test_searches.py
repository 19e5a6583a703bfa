import pytest

from compression.report.searches import best_speed, quality_of, speeds_of
from tests.compression.report.measurements import measurement, quality, speed


@pytest.mark.parametrize(("own", "asked", "expected"), [(3, None, 3), (1, None, 1), (1, 3, 3), (3, 2, None)])
def test_scores_are_of_the_captioners_own_beams_unless_others_are_asked_for(
    own: int, asked: int | None, expected: int | None
) -> None:
    found = quality_of(measurement("a", beam_width=own), asked)
    assert (found.beam_width if found else None) == expected


@pytest.mark.parametrize(("own", "expected"), [(5, 3), (2, 1)])
def test_where_its_own_were_not_measured_the_nearest_are_taken(own: int, expected: int) -> None:
    one = measurement("a", beam_width=own, quality=(quality(0.6), quality(0.5, beam_width=1)))
    found = quality_of(one)
    assert found is not None
    assert found.beam_width == expected
    assert {each.beam_width for each in speeds_of(one, 1)} == {expected}


def test_the_batch_that_is_fastest_is_taken() -> None:
    one = measurement(
        "a", speed=(speed(50, batch=1), speed(90, batch=8), speed(200, beam_width=1), speed(300, threads=2))
    )
    found = best_speed(one, 1)
    assert found is not None
    assert (found.batch, found.images_per_s) == (8, 90)
    assert best_speed(one, 4) is None
