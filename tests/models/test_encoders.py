from pathlib import Path

import numpy as np
import pytest
import tf_keras

from caption_core.errors import UsageError
from caption_core.models.architectures import ENCODERS
from caption_core.models.encoders import build_encoder, split_encoder


@pytest.fixture(scope="module")
def encoder() -> tf_keras.Model:
    return build_encoder("mobilenet_v2")


def test_images_become_grid_features(encoder: tf_keras.Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    assert encoder.predict_on_batch(images).shape == (2, 49, 1280)


def test_both_parts_of_a_cut_encoder_make_the_whole(encoder: tf_keras.Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    lower, upper = split_encoder(encoder, "block_13_expand")
    assert upper is not None
    whole = encoder.predict_on_batch(images)
    np.testing.assert_allclose(upper.predict_on_batch(lower.predict_on_batch(images)), whole, atol=1e-5)
    assert lower.count_params() + upper.count_params() == encoder.count_params()


def test_without_a_cut_everything_is_frozen(encoder: tf_keras.Model) -> None:
    assert split_encoder(encoder, None) == (encoder, None)


def test_a_cut_that_a_shortcut_bypasses_is_refused(encoder: tf_keras.Model) -> None:
    with pytest.raises(UsageError, match="block_4_project"):
        split_encoder(encoder, "block_4_project")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [("vgg99", None, "unknown encoder 'vgg99'"), ("mobilenet_v2", "gone.h5", r"gone\.h5: no such file")],
)
def test_unknown_encoders_and_weights_are_named(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_encoder(name, weights)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(UsageError, match=r"weights\.h5 don't fit mobilenet_v2"):
        build_encoder("mobilenet_v2", str(path))


def test_a_layer_that_does_not_exist_is_named(encoder: tf_keras.Model) -> None:
    with pytest.raises(UsageError, match="no layer 'block_99'"):
        split_encoder(encoder, "block_99")


def test_every_encoder_states_its_preprocessing() -> None:
    for architecture in ENCODERS.values():
        assert architecture.scale > 0
        assert min(architecture.image_size) >= 32
