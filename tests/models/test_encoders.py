from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.models.architectures import ENCODERS, EncoderConfig, check_block, check_encoder
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.encoders import build_encoder, split_encoder
from caption_core.models.soft_attention import SoftAttentionDecoder
from caption_core.runtimes.litert import GraphFile, LiteRTEncoder
from compression.export import export_encoder

SIZE = (64, 64)
# By encoder: the preprocessing of Keras' own `preprocess_input`, and the channels of grid and global features.
EXPECTED = {
    "vgg16": ("caffe", 512, 4096),
    "resnet50": ("caffe", 2048, 2048),
    "mobilenet_v2": ("tf", 1280, 1280),
    "mobilenet_v3_large": ("tf", 960, 960),
    "mobilenet_v3_small": ("tf", 576, 576),
    "efficientnet_b0": ("torch", 1280, 1280),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)
# mobilenet_v3_large is made of mobilenet_v3_small's layers.
every_kind_of_encoder = pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"mobilenet_v3_large"}))


def photographs(count: int = 4) -> NDArray[np.uint8]:
    """Smooth random colours, uint8 [count, 64, 64, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def keras_input(name: str) -> NDArray[np.float32]:
    """The photographs as Keras' own application takes them."""
    mode = EXPECTED[name][0]
    pixels: NDArray[np.float32] = tf_keras.applications.imagenet_utils.preprocess_input(
        photographs().astype(np.float32), mode=mode
    )
    # EfficientNet divides by 255 itself; it would standardize itself, too, had it ImageNet's statistics.
    return pixels * np.float32(255) if ENCODERS[name].first_layer else pixels


def run(model: tf_keras.Model, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    """Outputs of a model, without the seconds that compiling it takes."""
    outputs: NDArray[np.float32] = model(inputs.astype(np.float32), training=False).numpy()
    return outputs


@cache
def keras_application(name: str) -> tf_keras.Model:
    """Random weights, with batch norms that fit the photographs, so that something arrives at the last layer."""
    architecture = ENCODERS[name]
    tf_keras.utils.set_random_seed(1)
    build = getattr(tf_keras.applications, architecture.application)
    model = build(input_shape=(*SIZE, 3), include_top=False, weights=None, **architecture.options)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(keras_input(name), training=True)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Keras weights file an encoder, `NAME.h5`."""
    return tmp_path_factory.mktemp("weights")


@cache
def encoder_with_weights(name: str, folder: Path) -> tf_keras.Model:
    path = folder / f"{name}.h5"
    if not path.exists():
        keras_application(name).save_weights(path)
    return build_encoder(EncoderConfig(name, image_size=SIZE), str(path))


@pytest.mark.slow
@every_encoder
def test_features_are_those_of_the_keras_application_and_its_preprocessing(name: str, weights: Path) -> None:
    application, layer = keras_application(name), ENCODERS[name].features["grid"].layer
    grid = application if layer is None else tf_keras.Model(application.input, application.get_layer(layer).output)
    expected = run(grid, keras_input(name))
    assert expected.std() > 0.01
    features = run(encoder_with_weights(name, weights), photographs())
    assert features.shape == (4, expected.shape[1] * expected.shape[2], EXPECTED[name][1])
    np.testing.assert_allclose(features, expected.reshape(features.shape), atol=1e-3 * np.abs(expected).max())


@every_kind_of_encoder
@pytest.mark.slow
def test_an_encoder_exports_to_int8_without_flex_ops(name: str, weights: Path) -> None:
    encoder = encoder_with_weights(name, weights)
    decoder = SoftAttentionDecoder(SoftAttentionConfig(vocabulary_size=10, feature_channels=4, units=4))
    images = photographs()
    graph = GraphFile(Path("encoder.tflite"), export_encoder(CaptioningModel(encoder, decoder), images))
    # Running needs every operation to be one of LiteRT's own: this interpreter knows no other.
    features = LiteRTEncoder(graph, threads=1).encode(images)
    expected = run(encoder, images)
    # That it converts and runs, and that each photograph is known again; random weights tell nothing of its accuracy.
    likeness = np.corrcoef(features.reshape(4, -1), expected.reshape(4, -1))[:4, 4:]
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]


@pytest.mark.slow
@every_encoder
def test_global_features_are_one_vector(name: str) -> None:
    encoder = build_encoder(EncoderConfig(name, "global", image_size=(32, 32)))
    assert encoder.output_shape == (None, 1, EXPECTED[name][2])


@pytest.mark.slow
@every_encoder
def test_an_encoder_can_be_cut_before_every_block(name: str, weights: Path) -> None:
    encoder = encoder_with_weights(name, weights)
    images = photographs()
    whole = run(encoder, images)
    trained = []
    for block in ENCODERS[name].blocks:
        lower, upper = split_encoder(encoder, block)
        assert upper is not None
        assert lower.count_params() + upper.count_params() == encoder.count_params()
        trained.append(upper.count_params())
    assert trained == sorted(set(trained), reverse=True)
    again = run(upper, run(lower, images))
    np.testing.assert_allclose(again, whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.slow
def test_global_features_are_the_mean_of_the_grid() -> None:
    images = photographs()
    features = []
    for kind in ("grid", "global"):
        tf_keras.utils.set_random_seed(3)
        config = EncoderConfig("mobilenet_v3_small", kind, image_size=SIZE)
        features.append(run(build_encoder(config), images))
    np.testing.assert_allclose(features[0].mean(axis=1, keepdims=True), features[1], rtol=1e-4, atol=1e-12)


@pytest.mark.slow
def test_random_weights_and_layer_names_can_be_repeated() -> None:
    built = []
    for _ in range(2):
        tf_keras.utils.set_random_seed(7)
        built.append(build_encoder(EncoderConfig("mobilenet_v3_small", image_size=SIZE)))
    first, second = built
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert all(map(np.array_equal, first.get_weights(), second.get_weights()))


@pytest.mark.slow
def test_a_narrower_encoder_has_fewer_weights() -> None:
    sizes = [
        build_encoder(EncoderConfig("mobilenet_v2", width=width, image_size=SIZE)).count_params()
        for width in (0.35, 0.75, 1.0)
    ]
    assert sizes == sorted(set(sizes))


def test_the_default_is_the_encoder_of_earlier_bundles() -> None:
    encoder = build_encoder(EncoderConfig())
    assert encoder.input_shape == (None, 224, 224, 3)
    assert encoder.output_shape == (None, 49, 1280)
    assert encoder.count_params() == 2257984


@pytest.fixture(scope="module")
def encoder() -> tf_keras.Model:
    return build_encoder(EncoderConfig(image_size=SIZE))


def test_without_a_cut_everything_is_frozen(encoder: tf_keras.Model) -> None:
    assert split_encoder(encoder, None) == (encoder, None)


@pytest.mark.parametrize("layer", ["block_4_project", "block_4_add", "block_13_expand"])
def test_a_cut_inside_a_block_is_refused(encoder: tf_keras.Model, layer: str) -> None:
    with pytest.raises(UsageError, match=f"no block '{layer}'"):
        split_encoder(encoder, layer)


@every_encoder
def test_a_block_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError, match=f"no block 'block_99'.* {ENCODERS[name].blocks[-1]}$"):
        check_block(name, "block_99")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "vgg99"}, r"unknown encoder 'vgg99'; known: efficientnet_b0, .*vgg16"),
        ({"features": "regions"}, "no 'regions' features; it has: global, grid"),
        ({"name": "resnet50", "width": 0.5}, "resnet50 comes in width 1 only"),
        ({"width": 0.0}, "width must lie between"),
        ({"image_size": (16, 64)}, "must lie between 32 and 1024 pixels, not 16 x 64"),
    ],
)
def test_an_encoder_that_can_not_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EncoderConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (EncoderConfig(), "gone.h5", r"gone\.h5: no such file"),
        (EncoderConfig(width=0.6), "imagenet", r"mobilenet_v2 in width 0\.6; there are: 0\.35, 0\.5,"),
        (EncoderConfig("vgg16", "global", image_size=SIZE), "imagenet", "take images of 224 x 224 only"),
    ],
)
def test_weights_that_there_can_not_be_are_refused(config: EncoderConfig, weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_encoder(config, weights)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_weights_of_another_kind_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(UsageError, match=rf"weights\.h5 don't fit {name}"):
        build_encoder(EncoderConfig(name, image_size=SIZE), str(path))


def test_imagenet_weights_that_can_not_be_downloaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: object) -> None:
        raise Exception("URL fetch failure")  # as Keras raises it

    monkeypatch.setattr(tf_keras.applications, "MobileNetV2", unreachable)
    with pytest.raises(UsageError, match=r"mobilenet_v2 can't be downloaded .*URL fetch failure"):
        build_encoder(EncoderConfig(), "imagenet")
