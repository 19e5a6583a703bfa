from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caption_core.models.weights import named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.random_weights import restart_decoder
from tests.compression.conftest import MakeContext


@pytest.mark.slow
def test_seed_decides_the_decoder_s_weights_and_the_encoder_keeps_its_own(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    trained, first, again, other = (load_model(context.parent) for _ in range(4))
    restart_decoder(context, first)
    restart_decoder(context, again)
    restart_decoder(replace(context, seed=2), other)

    weights = {name: named_weights("decoder", model.decoder) for name, model in (("first", first), ("again", again))}
    for name, array in weights["first"].items():
        np.testing.assert_array_equal(array, weights["again"][name])
    embeddings = [model.decoder.embedding.numpy() for model in (trained, first, other)]
    assert len({embedding.tobytes() for embedding in embeddings}) == 3
    for old, new in zip(trained.encoder.get_weights(), first.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
