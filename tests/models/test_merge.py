import numpy as np
import pytest

from caption_core.models.weights import named_weights
from tests.models.decoder_contract import (
    example,
    first_steps,
    numpy_lstm,
    tiny_decoder,
)


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_two_steps_follow_the_published_architecture(merge: str) -> None:
    """The image joins after the LSTM, which never sees it; for one image and caption."""
    decoder = tiny_decoder("merge", merge=merge)
    w = {name.removeprefix("decoder/"): value for name, value in named_weights("decoder", decoder).items()}
    features, tokens = example(images=1, captions=1, length=2)
    vector = features.numpy()[0].mean(axis=0)
    image = np.maximum(vector @ w["feature_projection/kernel"] + w["feature_projection/bias"], 0)
    h = c = np.zeros(8)
    for position in range(2):
        word = w["embedding"][tokens[0, 0, position]]
        gates = word @ w["gates_from_word/kernel"] + w["gates_from_word/bias"] + h @ w["gates_from_h/kernel"]
        h, c = numpy_lstm(gates, c)
    both = h + image if merge == "add" else np.concatenate((h, image))
    merged = np.maximum(both @ w["merged/kernel"] + w["merged/bias"], 0)
    logits = merged @ w["output_layer/kernel"] + w["output_layer/bias"]
    np.testing.assert_allclose(first_steps(decoder, features, tokens), logits, atol=1e-4)


@pytest.mark.parametrize("units", [5, 8])
def test_a_tied_output_is_the_embedding(units: int) -> None:
    """Behind a projection where the hidden layer is of another size."""
    decoder = tiny_decoder("merge", output="tied", embedding_units=units)
    w = {name.removeprefix("decoder/"): value for name, value in named_weights("decoder", decoder).items()}
    hidden = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    projected = hidden
    if units != 8:
        projected = hidden @ w["output_projection/kernel"] + w["output_projection/bias"]
    assert "output_layer/kernel" not in w
    np.testing.assert_allclose(decoder.project(hidden), projected @ w["embedding"].T + w["output_bias"], atol=1e-4)


def test_a_vector_is_a_grid_of_one_place() -> None:
    decoder = tiny_decoder("merge")
    features, tokens = example(images=2, captions=1, length=3)
    vector = np.mean(features, axis=1, keepdims=True)
    np.testing.assert_allclose(decoder(vector, tokens), decoder(features, tokens), atol=1e-5)
