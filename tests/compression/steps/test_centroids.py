from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from caption_core.errors import UsageError
from compression.settings.clustering import Cluster
from compression.steps.centroids import initial_centroids, lloyd
from tests.compression.builders import normal_weights

INITIALIZATIONS = ("kmeans++", "linear", "density")


def _step(clusters: int, initialization: str = "kmeans++") -> Cluster:
    return Cluster(part="encoder", clusters=clusters, initialization=initialization)  # type: ignore[arg-type]


def _error(row: np.ndarray, centroids: np.ndarray) -> float:
    return float((np.abs(row[:, None] - centroids).min(axis=1) ** 2).mean())


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_centroids_are_means_of_their_clusters(initialization: str, share: float) -> None:
    row = normal_weights(5000)
    row[: int(share * 5000)] = 0
    centroids = initial_centroids(row[None], _step(8, initialization))

    assert centroids.shape == (1, 8)
    assert centroids.dtype == np.float32
    assert (np.diff(centroids[0]) >= 0).all()
    assert (0 in centroids) == (share > 0)
    nearest = np.abs(row[:, None] - centroids[0]).argmin(axis=1)
    for index in np.unique(nearest):
        mean = row[nearest == index].mean()
        assert centroids[0, index] == (0 if centroids[0, index] == 0 else pytest.approx(mean, abs=2e-4))


def test_centroids_of_a_normal_distribution_are_lloyd_and_max_s() -> None:
    row = normal_weights(100_000) / np.float32(0.1)

    centroids = initial_centroids(row[None], _step(4))[0]
    np.testing.assert_allclose(centroids, [-1.510, -0.4528, 0.4528, 1.510], atol=0.03)  # Max 1960, table I
    assert _error(row[:2000], centroids) == pytest.approx(0.1175, abs=0.01)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_few_distinct_values_are_the_centroids(initialization: str) -> None:
    row = np.tile(np.array([-0.5, 0.0, 0.25], np.float32), 10)

    np.testing.assert_array_equal(
        initial_centroids(row[None], _step(5, initialization)), [[-0.5, 0.0, 0.25, 0.25, 0.25]]
    )


def test_each_row_has_centroids_of_its_own() -> None:
    rows = np.stack([normal_weights(200), 1 + normal_weights(200)])
    centroids = initial_centroids(rows, _step(4))

    assert centroids[0].max() < centroids[1].min()


def test_two_clusters_are_too_few_where_weights_are_zero() -> None:
    with pytest.raises(UsageError, match="2 are too few"):
        initial_centroids(np.where(normal_weights(1, 50) > 0, normal_weights(1, 50), 0), _step(2))


def test_the_same_weights_have_the_same_centroids() -> None:
    rows = normal_weights(1, 100_000)  # more than are sampled

    np.testing.assert_array_equal(initial_centroids(rows, _step(16)), initial_centroids(rows, _step(16)))


FLOATS = st.floats(-1.0, 1.0, width=32)


@settings(deadline=None, max_examples=100)
@given(
    row=arrays(np.float32, st.integers(1, 60), elements=FLOATS),
    start=st.lists(FLOATS, min_size=1, max_size=8, unique=True),
)
def test_lloyd_never_makes_it_worse(row: np.ndarray, start: list[float]) -> None:
    centroids = np.sort(np.array(start, np.float32))
    moved = lloyd(np.sort(row), centroids, holds_zero=False)

    assert (np.diff(moved) >= 0).all()
    assert _error(row, moved) <= _error(row, centroids) + 1e-6
