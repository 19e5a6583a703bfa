import numpy as np
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.soft_attention import SoftAttentionDecoder
from compression.export import export_decoder, quantize_rows


@given(arrays(np.float32, (4, 6), elements=st.floats(-100, 100, width=32)))
@settings(deadline=None)
def test_quantized_rows_are_within_half_a_step(table: np.ndarray) -> None:
    steps, scales = quantize_rows(table)
    assert steps.dtype == np.int8
    assert np.all(np.abs(steps * scales - table) <= 0.5001 * scales + 1e-30)


def test_a_tied_embedding_is_stored_once() -> None:
    config = SoftAttentionConfig(vocabulary_size=300, feature_channels=8, units=16, embedding_units=64, value_units=16)
    encoder = tf_keras.Sequential([tf_keras.layers.Reshape((4, 8), input_shape=(2, 2, 8))])
    decoder = SoftAttentionDecoder(config)
    before = decoder.embedding.numpy()
    _, step = export_decoder(CaptioningModel(encoder, decoder))
    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(step))
    tables = [buffer for buffer in graph.buffers if buffer.data is not None and len(buffer.data) == 300 * 64]
    assert len(tables) == 1
    assert np.array_equal(decoder.embedding.numpy(), before)
