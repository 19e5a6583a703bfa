from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caption_core.errors import BundleError, UsageError
from caption_core.models.architectures import EncoderConfig
from caption_core.models.encoders import build_encoder
from compression import encoder_quantization
from compression.calibration import encode_images
from compression.encoder_quantization import (
    calibrate,
    copy_weights,
    export_quantized,
    quantized_copy,
    ranges_of,
    scheme_of,
    settle,
)
from compression.settings.clustering import Cluster
from compression.steps.centroids import initial_centroids
from tests.compression.builders import small_encoder, small_images

_CLUSTERS = 8

LONG = pytest.mark.skipif("CAPSTAN_FAULT_RUNS" not in os.environ, reason="takes long; CAPSTAN_FAULT_RUNS=1 runs it")


def _relative(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _calibrated(encoder: tf_keras.Model) -> tf_keras.Model:
    quantized = quantized_copy(encoder)
    calibrate(quantized, encoder, [small_images()])
    return quantized


def _int8_kernel(graph: bytes, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """The graph's only weights of a shape [out, height, width, in]."""
    interpreter = Interpreter(model_content=graph)
    (tensor,) = [
        detail
        for detail in interpreter.get_tensor_details()
        if tuple(detail["shape"]) == shape and len(detail["quantization_parameters"]["scales"]) == shape[0]
    ]
    kernel: NDArray[np.int8] = interpreter.tensor(tensor["index"])()
    return kernel


def _disturb(quantized: tf_keras.Model, name: str) -> None:
    """Let everything of a layer move as in training on the features' squares."""
    variables = quantized.get_layer(name).trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(quantized(small_images().astype(np.float32), training=True) ** 2)
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        if gradient is not None:
            variable.assign_sub(0.003 * tf.sign(gradient))
    settle(quantized)


def _prune(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.abs(kernel) < np.median(np.abs(kernel)), np.float32(0), kernel)


def _cluster(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    centres: NDArray[np.float32] = np.quantile(kernel, (np.arange(_CLUSTERS) + 0.5) / _CLUSTERS).astype(np.float32)
    nearest = np.abs(kernel[..., None] - centres).argmin(axis=-1)
    clustered: NDArray[np.float32] = centres[nearest]
    return clustered


def _prune_and_cluster(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(_prune(kernel) == 0, np.float32(0), _cluster(kernel))


def _with(change: Callable[[NDArray[np.float32]], NDArray[np.float32]], layer: str = "expanded_conv_project") -> Any:
    encoder = small_encoder()
    kernel = encoder.get_layer(layer).kernel
    kernel.assign(change(kernel.numpy()))
    return encoder


@pytest.mark.slow
def test_the_graph_gives_what_the_rounding_model_gives() -> None:
    encoder, images = small_encoder(), small_images()
    quantized = _calibrated(encoder)
    features = encode_images(export_quantized(quantized), images)
    in_float = encoder.predict_on_batch(images.astype(np.float32))
    rounding = quantized.predict_on_batch(images.astype(np.float32))

    assert features.shape == in_float.shape
    assert _relative(rounding, in_float) < 0.2
    assert _relative(features, rounding) < 0.5 * _relative(rounding, in_float)


def _in_float(interpreter: Interpreter) -> list[str]:
    return [detail["name"] for detail in interpreter.get_tensor_details() if detail["dtype"] == np.float32]


@pytest.mark.slow
def test_the_graph_takes_int8_in_any_number_and_is_int8_throughout() -> None:
    interpreter = Interpreter(model_content=export_quantized(_calibrated(small_encoder())))
    runner = interpreter.get_signature_runner()
    assert runner.get_input_details()["pixels"]["dtype"] == np.int8
    assert runner(pixels=np.zeros((3, 32, 32, 3), np.int8))["features"].shape == (3, 64, 8)

    assert len(_in_float(interpreter)) == 1  # the features
    assert not [detail for detail in interpreter._get_ops_details() if detail["op_name"].startswith("Flex")]


def test_a_copy_computes_what_the_encoder_does_but_for_rounding_and_shares_no_weights() -> None:
    encoder = small_encoder()
    quantized = _calibrated(encoder)
    before = encoder.get_weights()
    assert len(quantized.trainable_variables) == len(encoder.trainable_variables)
    _disturb(quantized, "block_1_expand")
    assert all((old == new).all() for old, new in zip(before, encoder.get_weights(), strict=True))

    copy_weights(quantized, encoder)
    changed = [old.shape for old, new in zip(before, encoder.get_weights(), strict=True) if (old != new).any()]
    assert changed == [encoder.get_layer("block_1_expand").kernel.shape]


@pytest.mark.slow
def test_batch_norm_keeps_its_statistics_in_training() -> None:
    encoder = small_encoder()
    quantized = _calibrated(encoder)
    quantized(small_images().astype(np.float32), training=True)
    copy_weights(quantized, encoder)
    layer, untouched = "bn_Conv1", small_encoder()
    assert (encoder.get_layer(layer).moving_mean.numpy() == untouched.get_layer(layer).moving_mean.numpy()).all()


def test_depthwise_kernels_have_a_range_a_channel() -> None:
    encoder = small_encoder()
    kernel = encoder.get_layer("block_1_depthwise").depthwise_kernel.numpy()
    ranges = ranges_of(_calibrated(encoder))
    highs = ranges["encoder_quantization/block_1_depthwise/depthwise_kernel_max"]
    np.testing.assert_allclose(highs, np.abs(kernel).max(axis=(0, 1, 3)), rtol=1e-6)


def test_ranges_of_activations_are_those_of_the_calibration_images() -> None:
    encoder, images = small_encoder(), small_images()
    quantized = quantized_copy(encoder)
    calibrate(quantized, encoder, [images[:2], images[2:]])
    seen = tf_keras.Model(encoder.input, encoder.get_layer("block_2_add").output)
    values = seen.predict_on_batch(images.astype(np.float32))
    ranges = ranges_of(quantized)
    assert ranges["encoder_quantization/block_2_add/output_min"] == pytest.approx(values.min(), rel=1e-4)
    assert ranges["encoder_quantization/block_2_add/output_max"] == pytest.approx(values.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "scheme"),
    [(np.copy, "QAT"), (_prune, "PQAT"), (_cluster, "CQAT"), (_prune_and_cluster, "PCQAT")],
)
def test_what_is_preserved_follows_from_the_weights(
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]], scheme: str
) -> None:
    encoder = _with(change)
    assert scheme_of(encoder.get_layer("expanded_conv_project")) == scheme
    assert scheme_of(encoder.get_layer("block_1_expand")) == "QAT"


KERNELS = st.sampled_from(
    [
        (3, 3, 3, 32),
        (3, 3, 16, 16),
        (1, 1, 8, 16),
        (1, 1, 16, 8),
        (1, 1, 16, 96),
        (1, 1, 24, 144),
        (1, 1, 96, 24),
        (1, 1, 192, 32),
        (1, 1, 320, 64),
        (64, 40),
    ]
)
SPARSITIES = st.sampled_from([0.0, 0.1, 0.5, 0.8, 0.9, 0.97])
SEEDS = st.integers(0, 2**16)


def _trained_kernel(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """As a network has it: channels of different sizes, of which some do nothing."""
    generator = np.random.default_rng(seed)
    channels = generator.lognormal(-2, 1, shape[-1]) * (generator.random(shape[-1]) > 0.1)
    return (generator.standard_normal(shape) * channels).astype(np.float32)


def _of_sparsity(kernel: NDArray[np.float32], sparsity: float) -> NDArray[np.float32]:
    """Without its smallest weights, of all channels together."""
    return np.where(np.abs(kernel) < np.quantile(np.abs(kernel), sparsity), np.float32(0), kernel)


def _from_int8(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    scales = np.maximum(np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(127), np.float32(1e-20))
    rounded: NDArray[np.float32] = np.round(kernel / scales) * scales
    return rounded


def _rows(kernel: NDArray[np.float32], per_channel: bool) -> NDArray[np.float32]:
    return kernel.reshape(-1, kernel.shape[-1]).T if per_channel else kernel.reshape(1, -1)


def _clustered(kernel: NDArray[np.float32], clusters: int, per_channel: bool) -> NDArray[np.float32]:
    """As the step `cluster` begins: each weight is the nearest of its row's centroids."""
    step = Cluster(part="encoder", clusters=clusters, initialization="linear", per_channel=per_channel)
    rows = _rows(kernel, per_channel)
    centroids = initial_centroids(rows, step)
    nearest = np.abs(rows[:, :, None] - centroids[:, None]).argmin(axis=-1)
    found = np.take_along_axis(centroids, nearest, axis=1)
    return (found.T if per_channel else found).reshape(kernel.shape)


def _scheme(kernel: NDArray[np.float32]) -> str:
    """Of a layer that has the kernel."""
    if kernel.ndim == 2:
        layer = tf_keras.layers.Dense(kernel.shape[-1], use_bias=False)
    else:
        layer = tf_keras.layers.Conv2D(kernel.shape[-1], kernel.shape[:2], use_bias=False)
    layer.build((None, *[8] * (kernel.ndim - 2), kernel.shape[-2]))
    layer.kernel.assign(kernel)
    return scheme_of(layer)


def _says_zeros(kernel: NDArray[np.float32]) -> str:
    return "P" if np.mean(kernel == 0) > 0.01 else ""


@settings(deadline=None)
@given(KERNELS, SPARSITIES, st.booleans(), st.booleans(), SEEDS)
def test_a_kernel_that_is_only_pruned_has_no_clusters_to_preserve(
    shape: tuple[int, ...], sparsity: float, was_int8: bool, prunes_last: bool, seed: int
) -> None:
    kernel = _trained_kernel(shape, seed)
    kernel = _of_sparsity(kernel, 0.0 if prunes_last else sparsity)
    kernel = _from_int8(kernel) if was_int8 else kernel
    kernel = _of_sparsity(kernel, sparsity)
    assert _scheme(kernel) == f"{_says_zeros(kernel)}QAT"


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(KERNELS, SPARSITIES, st.sampled_from([3, 4, 8, 16, 32, 64]), st.booleans(), st.booleans(), SEEDS)
def test_a_kernel_that_is_clustered_keeps_its_clusters_and_zeros(
    shape: tuple[int, ...], sparsity: float, clusters: int, per_channel: bool, was_int8: bool, seed: int
) -> None:
    per_channel = per_channel and len(shape) == 4
    kernel = _trained_kernel(shape, seed)
    kernel = _of_sparsity(_from_int8(kernel) if was_int8 else kernel, sparsity)
    clustered = _clustered(kernel, clusters, per_channel)
    assert (clustered[kernel == 0] == 0).all()
    if not was_int8 and max(np.unique(row).size for row in _rows(kernel, per_channel)) <= clusters:
        assert _scheme(clustered) == f"{_says_zeros(clustered)}QAT"  # nothing has changed
        return
    left = [row[row != 0] for row in _rows(clustered, per_channel)]
    # Where few weights share a value, for others became zero with a cluster, they may count as clustered or not.
    assume(1 < max(np.unique(row).size for row in left) < 0.8 * max(row.size for row in left))
    assume((clustered != kernel).any())
    assert _scheme(clustered) == f"{_says_zeros(clustered)}CQAT"


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("sparsity", "scheme"), [(0.0, "CQAT"), (0.9, "PCQAT")])
def test_clusters_of_a_matrix_and_of_channels_are_found(sparsity: float, scheme: str, per_channel: bool) -> None:
    kernel = _of_sparsity(_trained_kernel((1, 1, 320, 16), seed=2), sparsity)
    assert _scheme(_clustered(kernel, 16, per_channel)) == scheme


def test_channels_that_do_nothing_do_not_make_a_kernel_clustered() -> None:
    kernel = _trained_kernel((3, 3, 3, 32), seed=3)
    kernel[..., :12] = np.float32(1e-4) * np.sign(_trained_kernel((3, 3, 3, 12), seed=4))
    assert _scheme(kernel) == "QAT"


def test_a_depthwise_kernel_has_nothing_to_preserve() -> None:
    layer = tf_keras.layers.DepthwiseConv2D(3, use_bias=False)
    layer.build((None, 8, 8, 24))
    layer.depthwise_kernel.assign(_clustered(_of_sparsity(_trained_kernel((3, 3, 24, 1), seed=1), 0.5), 8, False))
    assert scheme_of(layer) == "QAT"


@pytest.mark.slow
@pytest.mark.parametrize("change", [_prune, _prune_and_cluster])
def test_zeros_stay_zeros(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    encoder = _with(change)
    kernel = encoder.get_layer("expanded_conv_project").kernel.numpy()
    quantized = _calibrated(encoder)
    _disturb(quantized, "expanded_conv_project")
    copy_weights(quantized, encoder)
    trained = encoder.get_layer("expanded_conv_project").kernel.numpy()
    assert (trained != kernel).any()
    assert (trained[kernel == 0] == 0).all()

    integers = _int8_kernel(export_quantized(quantized), kernel.transpose(3, 0, 1, 2).shape)
    assert (integers[kernel.transpose(3, 0, 1, 2) == 0] == 0).all()
    assert (integers == 0).mean() < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("change", [_cluster, _prune_and_cluster])
def test_clusters_stay_clusters(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    encoder = _with(change)
    kernel = encoder.get_layer("expanded_conv_project").kernel.numpy()
    quantized = _calibrated(encoder)
    _disturb(quantized, "expanded_conv_project")
    copy_weights(quantized, encoder)
    assert (encoder.get_layer("expanded_conv_project").kernel.numpy() != kernel).any()

    integers = _int8_kernel(export_quantized(quantized), kernel.transpose(3, 0, 1, 2).shape)
    most = len(np.unique(kernel))
    assert all(len(np.unique(channel)) <= most for channel in integers)


def test_an_encoder_whose_layers_can_not_round_is_refused() -> None:
    pixels = tf_keras.Input((8, 8, 3))
    rows = tf_keras.layers.Conv2D(4, 3)(pixels)
    encoder = tf_keras.Model(pixels, tf_keras.layers.Multiply()([rows, rows]), name="efficientnet_b0")
    with pytest.raises(UsageError, match=r"efficientnet_b0's layers \(Multiply\).*mobilenet_v2"):
        quantized_copy(encoder)


@pytest.mark.slow
def test_ranges_of_another_encoder_are_refused() -> None:
    ranges = ranges_of(quantized_copy(small_encoder()))
    ranges.pop("encoder_quantization/Conv1/kernel_min")
    with pytest.raises(BundleError, match="Conv1/kernel_min"):
        encoder_quantization._assign_ranges(quantized_copy(small_encoder()), ranges)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("resnet50", marks=LONG), "vgg16"])
def test_other_encoders_that_round(name: str) -> None:
    tf_keras.utils.set_random_seed(1)
    encoder = build_encoder(EncoderConfig(name, image_size=(32, 32)))
    quantized = _calibrated(encoder)
    graph = export_quantized(quantized)
    features = encode_images(graph, small_images())
    assert _relative(features, quantized.predict_on_batch(small_images().astype(np.float32))) < 0.1
    assert len(_in_float(Interpreter(model_content=graph))) == 1
