import numpy as np

from compression.fixed_clusters import FixedClusters
from tests.compression.builders import normal_weights, place_of


def test_clusters_move_as_one_and_zeros_stay() -> None:
    generator = np.random.default_rng(0)
    codebook = np.array([-1.0, 0.0, 2.0], np.float32)
    members = generator.integers(0, 3, (8, 6))
    clustered = place_of("decoder/a/kernel", codebook[members])
    free = place_of("decoder/b/kernel", normal_weights(8, 6))
    constraint = FixedClusters([clustered, free])
    assert constraint.names == {"decoder/a/kernel"}
    change = normal_weights(8, 6, seed=1)
    before = free.variable.numpy()
    clustered.variable.assign_add(change)
    constraint.after_update(0, 1)
    found = clustered.variable.numpy()
    for cluster in (0, 2):
        expected = codebook[cluster] + change[members == cluster].mean()
        np.testing.assert_allclose(found[members == cluster], expected, rtol=1e-5)
    assert np.all(found[members == 1] == 0)
    assert len(np.unique(found)) == 3
    np.testing.assert_array_equal(free.variable.numpy(), before)
