from pathlib import Path

import numpy as np
import pytest
import tf_keras

from caption_core.models.captioning import CaptioningModel
from caption_core.runtimes.litert import DECODER_START, DECODER_STEP, GraphFile, LiteRTDecoder
from compression.calibration import encode_images
from compression.export import export_encoder
from compression.litert_files import litert_files
from tests.models.decoder_contract import tiny_decoder


@pytest.fixture
def model() -> CaptioningModel:
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    encoder = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3), name="pixels"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 4, strides=4, activation="relu", name="only"),
            layers.Reshape((4, 6)),
        ]
    )
    return CaptioningModel(encoder, tiny_decoder("soft_attention"))


@pytest.mark.slow
def test_a_decoder_is_calibrated_on_what_the_encoders_graph_gives(model: CaptioningModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    brighter = tf_keras.models.clone_model(model.encoder)
    brighter.set_weights([8 * weights for weights in model.encoder.get_weights()])
    graph = export_encoder(CaptioningModel(brighter, model.decoder), (), "float32")
    features = encode_images(graph, images)

    files = litert_files(model, {"encoder": "int8", "decoder": "int8"}, list(images), encoder=graph)
    decoder = LiteRTDecoder(*(GraphFile(Path(name), files[name]) for name in (DECODER_START, DECODER_STEP)), threads=1)
    exact = dict(zip(model.decoder.state_shapes, model.decoder.start(features)[0], strict=True))
    wanted = np.stack([exact[name] for name in sorted(exact)])
    found = np.stack(decoder.start(features)[0])
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)
