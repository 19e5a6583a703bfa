from typing import Any

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
    """Equations 3 to 13 of arXiv 1908.06954, on the projected grid, for one image and caption."""
    decoder = tiny_decoder("aoa", heads=2, refining_layers=2)
    w = {name.removeprefix("decoder/"): value for name, value in named_weights("decoder", decoder).items()}
    features, tokens = example(images=1, captions=1, length=2)
    grid = np.maximum(features.numpy()[0] @ w["feature_projection/kernel"] + w["feature_projection/bias"], 0)
    for number in range(2):
        part = f"refining_{number}"
        query = dense(w, f"{part}_query", grid)
        found = heads(query, grid @ w[f"{part}_key/kernel"], dense(w, f"{part}_value", grid))
        grid = grid + gated(w, f"{part}_gated", found, query)
        grid = (grid - grid.mean(axis=-1, keepdims=True)) / np.sqrt(grid.var(axis=-1, keepdims=True) + 1e-6)
        grid = grid * w[f"{part}_norm/gamma"] + w[f"{part}_norm/beta"]
    h = c = context = np.zeros((1, 8))
    for position in range(2):
        word = w["embedding"][tokens[0, 0, position]]
        read = (grid.mean(axis=0) + context) @ w["gates_from_mean/kernel"] + h @ w["gates_from_h/kernel"]
        h, c = numpy_lstm(dense(w, "gates_from_word", word) + read, c)
        keys, values = grid @ w["key_projection/kernel"], dense(w, "value_projection", grid)
        context = gated(w, "gated", heads(dense(w, "query", h), keys, values), h)
    logits = dense(w, "output_projection", context[0]) @ w["embedding"].T + w["output_bias"]
    np.testing.assert_allclose(first_steps(decoder, features, tokens), logits, atol=1e-4)


def dense(w: dict[str, Any], name: str, inputs: Any) -> Any:
    return inputs @ w[f"{name}/kernel"] + w[f"{name}/bias"]


def gated(w: dict[str, Any], name: str, found: Any, query: Any) -> Any:
    information, gate = np.split(dense(w, name, np.concatenate((found, query), axis=-1)), 2, axis=-1)
    return information / (1 + np.exp(-gate))


def heads(query: Any, keys: Any, values: Any) -> Any:
    """Two heads of four units each: [K, 8] over [L, 8] to [K, 8]."""
    shares = [slice(0, 4), slice(4, 8)]
    weights = [numpy_softmax(query[:, share] @ keys[:, share].T / 2) for share in shares]
    return np.concatenate([part @ values[:, share] for part, share in zip(weights, shares, strict=True)], axis=-1)
