from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from caption_core.bundle import Bundle, open_bundle
from caption_core.errors import BundleError
from compression.measuring.litert_constants import litert_weights
from compression.measuring.stored_weights import StoredWeight
from tests.compression.measuring.weight_bundles import as_int4, dense_graph, floats, litert_bundle, renamed

GENERATOR = np.random.default_rng(0)
KERNEL = np.where(GENERATOR.random((64, 48)) < 0.7, 0, GENERATOR.choice([-7, 3, 7], (64, 48))).astype(np.float32)
BIAS = np.arange(48, dtype=np.float32)


def weights_of(bundle: Bundle, *files: str) -> dict[str, StoredWeight]:
    return {weight.name: weight for weight in litert_weights(bundle, "decoder", files)}


def bundle_of(bundled: Path, folder: Path, graph: bytes, step: bytes | None = None) -> Bundle:
    return litert_bundle(bundled / "captioner", folder, graph, graph, step or graph)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_zeros_and_values_are_those_of_the_layer(bundled: Path, tmp_path: Path, kind: str) -> None:
    bundle = bundle_of(bundled, tmp_path / "b", dense_graph(KERNEL, BIAS, kind))
    weights = weights_of(bundle, "encoder.tflite")
    kernel = weights["decoder/dense/kernel"]
    assert kernel.elements == KERNEL.size
    assert kernel.nonzeros == np.count_nonzero(KERNEL)
    assert kernel.is_matrix
    # In int8 a column's largest value becomes 127, so its 3 is 54, unless it has no 7.
    assert kernel.distinct_values == (4 if kind != "int8" else pytest.approx(4, abs=1))
    # Shapes and axes are no weights.
    others = [weight for name, weight in weights.items() if weight is not kernel]
    assert [(weight.elements, weight.nonzeros, weight.is_matrix) for weight in others] == [(48, 47, False)]


def test_a_product_that_the_converter_numbers_is_its_layers(bundled: Path, tmp_path: Path) -> None:
    graph = renamed(dense_graph(KERNEL, BIAS), "dense/MatMul", "dense/Tensordot/MatMul1")
    weights = weights_of(bundle_of(bundled, tmp_path / "b", graph), "encoder.tflite")
    assert weights["decoder/dense/kernel"].elements == KERNEL.size


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mobilenet_v2/block/excite/Conv/MatMul", "block/excite/Conv"),
        ("mobilenet_v2/mobilenet_v2/Conv/MatMul", "Conv"),
        ("mobilenet_v2/relu/Relu;mobilenet_v2/a/MatMul/Norm/Fused;mobilenet_v2/a/MatMul/MatMul", "a/MatMul"),
        ("other/block/Conv/MatMul", "Conv"),
    ],
)
def test_an_encoders_layer_has_the_name_behind_the_encoders(
    bundled: Path, tmp_path: Path, name: str, layer: str
) -> None:
    bundle = bundle_of(bundled, tmp_path / "b", renamed(dense_graph(KERNEL, BIAS), "dense/MatMul", name))
    names = [weight.name for weight in litert_weights(bundle, "encoder", ["encoder.tflite"]) if weight.is_matrix]
    assert names == [f"encoder/{layer}/kernel"]


def test_int4_is_two_weights_a_byte(bundled: Path, tmp_path: Path) -> None:
    eight = np.tile(floats([127, -128 + 1, -3, 0, 5, 2]), (32, 8)).T.copy()  # rows of one value each
    graph = dense_graph(np.repeat(eight[:, :1], 32, axis=1), np.ones(32, np.float32), "int8")
    plain = weights_of(bundle_of(bundled, tmp_path / "a", graph), "encoder.tflite")["decoder/dense/kernel"]
    packed = weights_of(bundle_of(bundled, tmp_path / "b", as_int4(graph)), "encoder.tflite")["decoder/dense/kernel"]
    lowest_bits = ((plain.values.astype(np.int16) + 8) % 16 - 8).astype(np.int8)
    assert packed.values.shape == plain.values.shape
    np.testing.assert_array_equal(packed.values, lowest_bits)
    assert set(np.unique(packed.values)) == {-3, -1, 0, 1, 2, 5}


def test_a_matrix_of_both_graphs_is_one_weight_and_biases_are_two(bundled: Path, tmp_path: Path) -> None:
    graph = dense_graph(KERNEL, BIAS)
    bundle = bundle_of(bundled, tmp_path / "b", graph)
    weights = litert_weights(bundle, "decoder", ["decoder_start.tflite", "decoder_step.tflite"])
    assert sorted(weight.elements for weight in weights) == [48, 48, KERNEL.size]
    assert len({weight.name for weight in weights}) == 3


def test_an_embedding_tied_to_the_output_layer_is_one_weight_without_its_scales(bundled: Path) -> None:
    bundle = open_bundle(bundled / "captioner")
    weights = weights_of(bundle, "decoder_step.tflite")
    words, units = 1004, 256
    assert weights["decoder/embedding"].elements == words * units
    # As long as the scales is the output layer's bias alone.
    alike = [weight for weight in weights.values() if weight.elements in (words * units, words)]
    found = [(weight.elements, weight.values.dtype.name) for weight in alike]
    assert found == [(words * units, "int8"), (words, "float32")]


def test_a_bias_in_int32_is_counted(bundled: Path) -> None:
    weights = {w.name: w for w in litert_weights(open_bundle(bundled / "captioner"), "encoder", ["encoder.tflite"])}
    assert weights["encoder/Conv_1/bias"].values.dtype == np.int32
    assert weights["encoder/Conv_1/bias"].elements == 1280
    assert weights["encoder/Conv_1/kernel"].elements == 1280 * 320


def test_a_table_with_a_zero_point_has_its_zeros_there() -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    from compression.measuring.litert_constants import _Constant, _zero_point

    tensor, tensor.quantization = schema.TensorT(), schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = floats([0.5]), np.array([-128])
    constant = _Constant(b"", (tensor,), False)
    shifted = np.array([-128, 127], np.int8) - _zero_point(constant)
    assert shifted.tolist() == [0, 255]


def test_a_file_that_is_no_graph_is_named(bundled: Path, tmp_path: Path) -> None:
    bundle = bundle_of(bundled, tmp_path / "b", b"nothing of the kind")
    with pytest.raises(BundleError, match=r"encoder\.tflite: not a LiteRT graph"):
        litert_weights(bundle, "encoder", ["encoder.tflite"])


def test_the_graphs_that_are_read_run(tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(dense_graph(KERNEL, BIAS, "int8"))
    interpreter = tf.lite.Interpreter(str(tmp_path / "g"))
    interpreter.allocate_tensors()
