import numpy as np

from caption_core.models.weights import named_weights
from tests.models.decoder_contract import (
    example,
    first_steps,
    numpy_lstm,
    numpy_softmax,
    tiny_decoder,
)


def test_two_steps_follow_the_published_equations() -> None:
    """Equations 1 to 7 of arXiv 1707.07998, on the projected grid, for one image and caption."""
    decoder = tiny_decoder("up_down", value_units=7, attention_units=4)
    w = {name.removeprefix("decoder/"): value for name, value in named_weights("decoder", decoder).items()}
    features, tokens = example(images=1, captions=1, length=2)
    grid = np.maximum(features.numpy()[0] @ w["feature_projection/kernel"] + w["feature_projection/bias"], 0)
    h1 = c1 = h2 = c2 = np.zeros(8)
    for position in range(2):
        inputs = {"spoken": h2, "mean": grid.mean(axis=0), "word": w["embedding"][tokens[0, 0, position]], "h": h1}
        gates = sum(value @ w[f"attend_from_{name}/kernel"] for name, value in inputs.items())
        h1, c1 = numpy_lstm(gates + w["attend_from_word/bias"], c1)
        keys = grid @ w["key_projection/kernel"] + w["key_projection/bias"]
        energies = np.tanh(keys + h1 @ w["query/kernel"]) @ w["energy/kernel"][:, 0]
        inputs = {"context": numpy_softmax(energies) @ grid, "attended": h1, "h": h2}
        gates = sum(value @ w[f"speak_from_{name}/kernel"] for name, value in inputs.items())
        h2, c2 = numpy_lstm(gates + w["speak_from_context/bias"], c2)
    projected = h2 @ w["output_projection/kernel"] + w["output_projection/bias"]
    logits = projected @ w["embedding"].T + w["output_bias"]
    np.testing.assert_allclose(first_steps(decoder, features, tokens), logits, atol=1e-4)
