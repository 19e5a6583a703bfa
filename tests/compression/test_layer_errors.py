import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.captioning import CaptioningModel
from compression.layer_errors import layer_errors
from compression.settings.quantization import Format
from tests.models.decoder_contract import tiny_decoder


@pytest.fixture(scope="module")
def model() -> CaptioningModel:
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    encoder = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 127.5, -1.0),
            layers.Conv2D(16, 3, strides=2, name="first"),
            layers.DepthwiseConv2D(2, name="second"),
            layers.Conv2D(6, 1, name="third"),
            layers.Reshape((4, 6)),
        ]
    )
    kernel = encoder.get_layer("third").kernel
    # Integers times a scale a channel: rounding takes nothing from them.
    kernel.assign(tf.constant(np.random.default_rng(0).integers(-127, 128, kernel.shape).astype(np.float32)))
    kernel.assign(tf.concat((tf.fill((1, 1, 1, 6), 127.0), kernel[:, :, 1:]), axis=2) / 500)
    sizes = {"vocabulary_size": 60, "units": 32, "embedding_units": 24, "value_units": 32, "attention_units": 32}
    return CaptioningModel(encoder, tiny_decoder("soft_attention", **sizes))


def errors_of(model: CaptioningModel, encoder: Format, decoder: Format) -> dict[str, float]:
    generator = np.random.default_rng(0)
    images: list[NDArray[np.uint8]] = list(generator.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8))
    features = model.encoder.predict_on_batch(np.stack(images).astype(np.float32))
    found = layer_errors(model, images, features, {"encoder": encoder, "decoder": decoder})
    return {one.name: one.error for one in found}


def test_every_matrix_has_the_error_of_its_rounding(model: CaptioningModel) -> None:
    before = model.encoder(tf.ones((1, 8, 8, 3)))
    errors = errors_of(model, "int16x8", "int16x8")
    assert sum(name.startswith("encoder/") for name in errors) == 3
    assert errors["encoder/third/kernel"] < 1e-6 < errors["encoder/first/kernel"] < 0.05
    assert 1e-6 < errors["encoder/second/depthwise_kernel"] < 0.05
    assert 1e-6 < errors["decoder/gates_from_h/kernel"] < 0.2
    assert 1e-6 < errors["decoder/embedding"] < 0.2
    np.testing.assert_array_equal(model.encoder(tf.ones((1, 8, 8, 3))), before)


def test_inputs_are_rounded_where_the_format_has_them_in_int8(model: CaptioningModel) -> None:
    errors = errors_of(model, "int8", "dynamic")
    assert errors["encoder/third/kernel"] > 1e-4
    assert errors["decoder/gates_from_h/kernel"] > 1e-5
    assert errors["decoder/selector/kernel"] == 0  # 32 elements stay in float


def test_float16_takes_less_than_int8_and_float32_takes_nothing(model: CaptioningModel) -> None:
    half, whole = errors_of(model, "float16", "float32"), errors_of(model, "int8", "float32")
    assert half.keys() == whole.keys()
    assert all(name.startswith("encoder/") for name in half)
    assert half["encoder/first/kernel"] < whole["encoder/first/kernel"] / 4
    assert errors_of(model, "float32", "float32") == {}
