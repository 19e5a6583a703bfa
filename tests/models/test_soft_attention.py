import numpy as np

from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.soft_attention import SoftAttentionDecoder
from caption_core.models.weights import named_weights
from tests.models.decoder_contract import (
    example,
    tiny_decoder,
)

SIZES = {"value_units": 6, "attention_units": 4}


def test_weights_have_the_names_and_shapes_of_the_first_bundles() -> None:
    """A bundle made before there were cells and heads names neither, and its weights must go on fitting."""
    weights = named_weights("decoder", tiny_decoder("soft_attention", **SIZES))
    assert {name.removeprefix("decoder/"): array.shape for name, array in weights.items()} == {
        "embedding": (13, 5),
        "output_bias": (13,),
        "feature_projection/kernel": (6, 6),
        "feature_projection/bias": (6,),
        "key_projection/kernel": (6, 4),
        "key_projection/bias": (4,),
        "initial_h/kernel": (6, 8),
        "initial_h/bias": (8,),
        "initial_c/kernel": (6, 8),
        "initial_c/bias": (8,),
        "query/kernel": (8, 4),
        "energy/kernel": (4, 1),
        "selector/kernel": (8, 1),
        "selector/bias": (1,),
        "gates_from_word/kernel": (5, 32),
        "gates_from_word/bias": (32,),
        "gates_from_context/kernel": (6, 32),
        "gates_from_h/kernel": (8, 32),
        "output_projection/kernel": (14, 5),
        "output_projection/bias": (5,),
    }


def test_heads_of_equal_energies_attend_as_one() -> None:
    one, three = tiny_decoder("soft_attention", **SIZES), tiny_decoder("soft_attention", **SIZES, heads=3)
    weights = named_weights("decoder", one)
    for layer in three.layers:
        for weight in layer.weights:
            leaf = weight.name.split("/")[-1].split(":")[0]
            value = weights[f"decoder/{layer.name}/{leaf}"]
            weight.assign(np.repeat(value, 3, axis=1) if layer.name == "energy" else value)
    three.embedding.assign(one.embedding)
    three.output_bias.assign(one.output_bias)
    features, tokens = example(images=2, captions=2, length=4)
    np.testing.assert_allclose(three(features, tokens), one(features, tokens), atol=1e-5)


def test_the_recurrent_gates_start_orthogonal_and_different() -> None:
    config = SoftAttentionConfig(vocabulary_size=11, feature_channels=6, units=8)
    kernel = SoftAttentionDecoder(config).gates_from_h.kernel.numpy()
    gates = np.split(kernel, 4, axis=1)
    for gate in gates:
        np.testing.assert_allclose(gate @ gate.T, np.eye(config.units), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])
