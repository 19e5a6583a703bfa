from __future__ import annotations

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.runtimes.tensorflow import load_model
from compression.masks import sparsity_of
from compression.settings.pruning import Snip
from compression.settings.training import Training
from compression.trained_places import prune_at_once, split_places
from tests.compression.builders import normal_weights, place_of
from tests.compression.conftest import MakeContext


def test_encoder_is_split_where_it_begins_to_train(make_context: MakeContext) -> None:
    model = load_model(make_context(captions=False).parent)
    layers = ("block_15_expand", "block_16_expand", "Conv_1")
    step = Snip(part="encoder", sparsity=0.5, layers=layers, training=Training(encoder_from="block_16"))
    trained, frozen = split_places(model, step)

    assert [place.name for place in trained] == ["encoder/block_16_expand/kernel", "encoder/Conv_1/kernel"]
    assert [place.name for place in frozen] == ["encoder/block_15_expand/kernel"]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Snip(part="encoder", sparsity=0.5), "none of the encoder's does"),
        (Snip(sparsity=0.5, training=Training(objective="features", encoder_from="pixels")), "none of the decoder's"),
        (Snip(sparsity=0.5, layers=("nowhere",)), "'nowhere'"),
    ],
)
def test_what_has_no_gradients_is_refused(make_context: MakeContext, step: Snip, reason: str) -> None:
    model = load_model(make_context(captions=False).parent)
    with pytest.raises(UsageError, match=reason):
        split_places(model, step)


def test_frozen_matrices_lose_their_smallest_weights() -> None:
    places = [place_of("a", normal_weights(10, 10)), place_of("b", 10 * normal_weights(10, 10, seed=1))]
    prune_at_once(places, 0.6)
    assert sparsity_of(places) == 0.6
    assert sparsity_of(places[:1]) > sparsity_of(places[1:])
    prune_at_once([], 0.6)


def test_a_restart_is_for_decoders() -> None:
    with pytest.raises(ValueError, match="snip begins with random weights in a decoder only"):
        Snip(part="encoder", sparsity=0.5, restart=True)
    assert np.isclose(Snip(sparsity=0.5, restart=True).sparsity, 0.5)
