from __future__ import annotations

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.metrics import bootstrap
from caption_core.metrics.bootstrap import BootstrapSettings, ResampledSums, difference, interval
from caption_core.metrics.corpus_sums import scores_from_sums, statistics_columns
from caption_core.metrics.scores import image_statistics


def values(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, count)


def resample(column: np.ndarray, settings: BootstrapSettings, pieces: int = 1) -> np.ndarray:
    sums = ResampledSums(len(column), settings)
    for piece in np.array_split(column, pieces):
        sums.add({"x": piece, "one": np.ones(len(piece))})
    result = sums.sums()
    assert result["one"].tolist() == [len(column)] * settings.resamples  # a draw has as many images as there are
    return result["x"] / len(column)


def test_agrees_with_the_bootstrap_written_out_plainly() -> None:
    column, settings = values(400), BootstrapSettings(resamples=4000)
    draws = resample(column, settings)
    random = np.random.default_rng(5)
    plain = np.array([column[random.integers(0, 400, 400)].mean() for _ in range(4000)])
    assert draws.mean() == pytest.approx(plain.mean(), abs=4 * plain.std() / np.sqrt(4000) * 1.5)
    assert draws.std() == pytest.approx(plain.std(), rel=0.06)
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx(np.quantile(plain, [0.025, 0.975]), rel=0.02)


def test_agrees_with_theory_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK_IMAGES", 37)
    column = values(1000)
    draws = resample(column, BootstrapSettings(resamples=3000), pieces=7)
    assert draws.std() == pytest.approx(column.std() / np.sqrt(1000), rel=0.06)
    assert draws.mean() == pytest.approx(column.mean(), abs=4 * column.std() / np.sqrt(1000 * 3000))


def test_a_seed_gives_the_same_draws_and_another_one_others() -> None:
    column = values(50)
    one, again, other = (resample(column, BootstrapSettings(20, seed=seed)).tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_all_images_must_come() -> None:
    sums = ResampledSums(3, BootstrapSettings(5))
    sums.add({"x": np.ones(2)})
    with pytest.raises(ValueError, match="1 images"):
        sums.sums()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(200):
        column = np.random.default_rng(seed).normal(3.0, 1.0, 200)
        limits = interval(resample(column, BootstrapSettings(300, seed=seed)), 0.9)
        hits += limits.low <= 3.0 <= limits.high
    assert 165 <= hits <= 195  # 180 expected


def test_a_percentile_interval() -> None:
    limits = interval(np.arange(101.0), 0.9)
    assert (limits.low, limits.high) == pytest.approx((5.0, 95.0))


def test_a_difference_that_is_there_and_one_that_is_not() -> None:
    one, same, better = values(300), values(300) + 0.0, values(300) + 0.5
    settings = BootstrapSettings(999)
    sums = ResampledSums(300, settings)
    sums.add({"one": one, "same": same, "better": better})
    draws = {name: total / 300 for name, total in sums.sums().items()}
    clear = difference(0.5, draws["better"] - draws["one"], 0.95)
    assert clear.p_value == 2 / 1000
    assert clear.interval.low == pytest.approx(0.5)  # the same images in both, so what they share cancels out
    none = difference(0.0, draws["same"] - draws["one"], 0.95)
    assert none.p_value == 1.0
    assert none.interval.low == none.interval.high == 0.0


def test_under_no_difference_p_values_are_uniform() -> None:
    p_values = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        gap = random.normal(0, 1, 100)
        sums = ResampledSums(100, BootstrapSettings(199, seed=seed))
        sums.add({"gap": gap})
        p_values.append(difference(gap.mean(), sums.sums()["gap"] / 100, 0.95).p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.10
    assert 0.4 <= np.mean(p_values) <= 0.6


def test_corpus_scores_of_a_draw_are_those_of_its_images() -> None:
    captions = {str(i): " ".join(["a", "dog", "runs", "on", "the", "red", "grass"][: 1 + i % 7]) for i in range(30)}
    references = {name: ["a dog runs on grass", "the red dog"] for name in captions}
    columns = statistics_columns(image_statistics(captions, references))
    sums = ResampledSums(30, BootstrapSettings(resamples=1, seed=3))
    sums.add({**columns, **{f"is_{i}": np.eye(30)[i] for i in range(30)}})
    drawn = sums.sums()
    weights = np.array([drawn[f"is_{i}"][0] for i in range(30)])
    expected = scores_from_sums({name: np.array(column @ weights) for name, column in columns.items()}, 30)
    for name, score in scores_from_sums(drawn, 30).items():
        assert score[0] == pytest.approx(float(expected[name]), rel=1e-12)


@pytest.mark.parametrize("settings", [{"resamples": -1}, {"resamples": 10**9}, {"confidence": 1.0}, {"confidence": 0}])
def test_settings_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must lie between"):
        BootstrapSettings(**settings)  # type: ignore[arg-type]
