import pytest

from caption_core.training.early_stopping import epochs_without_improvement


@pytest.mark.parametrize(
    ("scores", "min_improvement", "expected"),
    [
        ([], 0.0, 0),
        ([0.4], 0.1, 0),
        ([0.4, 0.4], 0.0, 1),
        ([0.4, 0.5, 0.6], 0.05, 0),
        ([0.4, 0.3, 0.35], 0.0, 2),
        ([0.4, 0.3, 0.41], 0.0, 0),
        ([0.4, 0.42, 0.44, 0.46], 0.05, 0),  # steps too small one by one add up
        ([0.4, 0.42, 0.44], 0.05, 2),
    ],
)
def test_epochs_are_counted_since_the_last_rise_that_is_large_enough(
    scores: list[float], min_improvement: float, expected: int
) -> None:
    assert epochs_without_improvement(scores, min_improvement) == expected
