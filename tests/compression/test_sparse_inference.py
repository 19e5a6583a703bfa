"""Encoders for sparse inference: the twin computes the same, and its graph is what XNNPACK asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tf_keras
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.models.architectures import EncoderConfig
from caption_core.models.captioning import CaptioningModel
from caption_core.models.encoders import build_encoder
from compression.export import export_encoder
from compression.sparse_inference import can_run_sparse, mirrored
from tests.models.decoder_contract import tiny_decoder

SAME = {"padding": "same"}


def with_zeros(config: EncoderConfig, share: float) -> tf_keras.Model:
    """An encoder with so many zeros in its 1x1 convolutions, and biases that tell places apart."""
    tf_keras.utils.set_random_seed(1)
    encoder = build_encoder(config)
    random = np.random.default_rng(2)
    for layer in encoder.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.beta.assign(random.normal(0, 0.3, layer.beta.shape))
        elif isinstance(layer, tf_keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            values = layer.kernel.numpy()
            layer.kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), share), 0, values))
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features", "size"),
    [
        ("mobilenet_v2", "grid", (64, 96)),
        ("mobilenet_v2", "global", (65, 47)),
        ("mobilenet_v3_large", "grid", (65, 47)),
        ("mobilenet_v3_small", "grid", (64, 47)),
        ("mobilenet_v3_small", "global", (64, 96)),
    ],
)
def test_a_twin_computes_the_same_features(name: str, features: str, size: tuple[int, int]) -> None:
    encoder = with_zeros(EncoderConfig(name, features, image_size=size), 0.8)
    before = encoder.get_weights()
    assert can_run_sparse(encoder)
    twin = mirrored(encoder)
    images = np.random.default_rng(3).integers(0, 256, (3, *size, 3)).astype(np.float32)
    expected = encoder(images, training=False).numpy()
    assert np.abs(twin(images, training=False).numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.ptp(expected[0], axis=0).max() > 0 or features == "global"  # places differ: their order is seen
    assert all(np.array_equal(*pair) for pair in zip(before, encoder.get_weights(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "share", "expected"),
    [("mobilenet_v2", 0.6, False), ("mobilenet_v2", 0.7, True), ("efficientnet_b0", 0.9, False), ("vgg16", 0.9, False)],
)
def test_other_encoders_stay_as_they_are(name: str, share: float, expected: bool) -> None:
    assert can_run_sparse(with_zeros(EncoderConfig(name, image_size=(32, 32)), share)) == expected


def strided(
    first: dict[str, Any], padding: tuple[tuple[int, int], ...], second: dict[str, Any], between: Any = None
) -> tf_keras.Model:
    """A small encoder of 32 x 32 pixels whose 1x1 convolution is all zeros."""
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, **first),
            layers.ZeroPadding2D(padding),
            *([between] if between else []),
            layers.DepthwiseConv2D(**{"strides": 2, **second}),
            layers.Conv2D(8, 1, kernel_initializer="zeros"),
            layers.Reshape((-1, 8)),
        ]
    )


@pytest.mark.parametrize(
    ("first", "padding", "second", "between"),
    [
        ({"padding": "valid"}, ((1, 1), (1, 1)), {"kernel_size": 3}, None),
        (SAME, ((0, 0), (0, 0)), {"kernel_size": 3}, None),
        (SAME, ((1, 1), (1, 1)), {"kernel_size": 3}, None),
        (SAME, ((1, 0), (1, 0)), {"kernel_size": 3}, None),
        (SAME, ((1, 2), (1, 2)), {"kernel_size": 3}, None),
        (SAME, ((0, 1), (0, 1)), {"kernel_size": 5}, None),
        (SAME, ((0, 1), (0, 1)), {"kernel_size": 3, "padding": "same"}, None),
        (SAME, ((0, 1), (0, 1)), {"kernel_size": 3, "strides": 1}, None),
        (SAME, ((0, 1), (0, 1)), {"kernel_size": 3, "depth_multiplier": 2}, None),
        (SAME, ((0, 1), (0, 1)), {"kernel_size": 3}, tf_keras.layers.ReLU()),
    ],
)
def test_an_encoder_that_a_half_turn_would_shift_has_no_twin(
    first: dict[str, Any], padding: tuple[tuple[int, int], ...], second: dict[str, Any], between: Any
) -> None:
    for kernel_size, fit in ((3, ((0, 1), (0, 1))), (5, ((1, 2), (1, 2)))):
        assert can_run_sparse(strided(SAME, fit, {"kernel_size": kernel_size}))
    assert not can_run_sparse(strided(first, padding, second, between))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), [("mobilenet_v2", "global"), ("mobilenet_v3_small", "grid")])
def test_an_exported_graph_meets_xnnpacks_conditions(name: str, features: str) -> None:
    encoder = with_zeros(EncoderConfig(name, features, image_size=(64, 64)), 0.8)
    graph = Graph(export_encoder(CaptioningModel(encoder, tiny_decoder("merge")), chosen="float32"))
    halving = [each for each in graph.operators if getattr(each.builtinOptions, "strideW", 1) == 2]
    assert len(halving) == 5
    for each in halving:
        above = graph.made_by[each.inputs[0]]
        sides = graph.constant(above.inputs[1], np.int32).reshape(4, 2)[1:3]
        assert (graph.kind(above), each.builtinOptions.padding) == ("PAD", schema.Padding.VALID)
        assert np.all(sides == graph.tensors[each.inputs[1]].shape[1] // 2)
    assert b"/Conv2D" in graph.tensors[halving[0].inputs[1]].name  # a report finds its layer by that
    kinds = [graph.kind(each) for each in graph.operators]
    assert kinds.count("DEPTH_TO_SPACE") == (1 if features == "grid" else 0)
    assert "MEAN" in kinds or features == "grid"
    inner = graph.operators[kinds.index("CONV_2D") :]
    factors = [graph.tensors[index] for each in inner if graph.kind(each) in ("MUL", "ADD") for index in each.inputs]
    assert all(len(factor.shape) == 4 for factor in factors)
    kernels = [graph.made_by.get(each.inputs[1]) for each in inner if graph.kind(each) == "CONV_2D"]
    assert all(kernel is not None and graph.kind(kernel) == "DENSIFY" for kernel in kernels[1:])


class Graph:
    """A LiteRT graph to look at."""

    def __init__(self, content: bytes) -> None:
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        self.kinds = [str(names[code.builtinCode]) for code in model.operatorCodes]
        self.buffers, self.tensors = model.buffers, model.subgraphs[0].tensors
        self.operators = model.subgraphs[0].operators
        self.made_by = {output: each for each in self.operators for output in each.outputs}

    def kind(self, operator: Any) -> str:
        kind: str = self.kinds[operator.opcodeIndex]
        return kind

    def constant(self, index: int, dtype: type) -> np.ndarray:
        return np.frombuffer(bytes(self.buffers[self.tensors[index].buffer].data), dtype)
