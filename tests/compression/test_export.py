from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.soft_attention import SoftAttentionDecoder
from caption_core.runtimes.litert import GraphFile, LiteRTDecoder
from caption_core.search import State, Step
from compression.calibration import encode_images, greedy_captions
from compression.export import as_multiples, export_decoder, export_encoder, quantize_rows
from compression.kept_float import NOTHING_KEPT, kept_float
from compression.settings.quantization import Format
from tests.models.decoder_contract import CHANNELS, LOCATIONS, builtin_operations, custom_operations, tiny_decoder

WORDS = 60
SIZES: dict[str, Any] = {"units": 32, "embedding_units": 24, "vocabulary_size": WORDS}
ATTENTION: dict[str, Any] = {"value_units": 32, "attention_units": 16}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("soft_attention", ATTENTION),
    "gru": ("soft_attention", {**ATTENTION, "cell": "gru"}),
    "heads": ("soft_attention", {**ATTENTION, "heads": 4}),
    "up_down": ("up_down", ATTENTION),
    "aoa": ("aoa", {"heads": 4, "refining_layers": 1}),
    "merge": ("merge", {}),
    "concat": ("merge", {"merge": "concat"}),
    "tied": ("merge", {"output": "tied"}),
}
# Root mean square of the difference of logits after several steps over that of the float model's logits.
TOLERANCES: dict[Format, float] = {"float32": 1e-5, "float16": 2e-3, "int16x8": 0.02, "dynamic": 0.02, "int8": 0.05}


def formatted_decoder(kind: str) -> Decoder:
    """A decoder whose weights are about as large as trained ones: with larger ones an error grows from step to step."""
    name, sizes = DECODERS[kind]
    decoder = tiny_decoder(name, **{**SIZES, **sizes})
    for weight in decoder.weights:
        weight.assign(weight / 2)
    return decoder


def captioner_of(decoder: Decoder) -> CaptioningModel:
    shape = (LOCATIONS, CHANNELS)
    return CaptioningModel(tf_keras.Sequential([tf_keras.layers.Reshape(shape, input_shape=shape)]), decoder)


def random_features(images: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(images, LOCATIONS, CHANNELS)).astype(np.float32)


def steps_of(runtime: Any, features: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Logits [images, K, T, V] of captions [images, K, T], one step after the other."""
    state: State
    step: Step
    state, step = runtime.start(features)
    state = tuple(np.repeat(part, tokens.shape[1], axis=1) for part in state)
    logits = []
    for position in range(tokens.shape[2]):
        found, state = step(tokens[:, :, position], state)
        logits.append(found)
    return np.stack(logits, axis=2)


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


Export = Callable[..., LiteRTDecoder]


@pytest.fixture
def exported(tmp_path: Path) -> Export:
    """Exports a decoder in a format: `exported(decoder, format, **options)`."""

    def export(decoder: Decoder, chosen: Format, **options: Any) -> LiteRTDecoder:
        calibration = list(random_features(6))
        graphs = export_decoder(captioner_of(decoder), chosen, calibration, max_tokens=6, **options)
        files = [tmp_path / f"{name}.tflite" for name in ("start", "step")]
        for file, graph in zip(files, graphs, strict=True):
            file.write_bytes(graph)
            assert custom_operations(graph) == set()
        assert "SHAPE" not in builtin_operations(graphs[1]), "what lies behind it is left to slow kernels"
        return LiteRTDecoder(*map(GraphFile, files), threads=1)

    return export


FORMATS: list[tuple[str, Format]] = [
    *(("heads", chosen) for chosen in TOLERANCES),
    ("aoa", "int16x8"),  # the one whose operations that format lacked
]


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        *FORMATS,
        *(pytest.param(kind, "dynamic", marks=pytest.mark.slow) for kind in DECODERS if kind != "heads"),
        *(pytest.param(kind, "int8", marks=pytest.mark.slow) for kind in DECODERS if kind != "heads"),
    ],
)
def test_every_decoder_agrees_with_its_float_model_in_every_format(kind: str, chosen: Format, exported: Export) -> None:
    decoder = formatted_decoder(kind)
    features = random_features(6)[:3]
    # Words that the calibration has met: what lies outside a range is cut off.
    tokens = np.repeat(greedy_captions(decoder, features, 4), 2, axis=1)
    expected = steps_of(DecoderFunctions(decoder), features, tokens)
    found = steps_of(exported(decoder, chosen), features, tokens)
    assert relative_error(found, expected) < TOLERANCES[chosen]
    flat = expected.reshape(-1, WORDS)
    margins = np.diff(np.sort(flat, axis=-1)[:, -2:], axis=-1)[:, 0]
    sure = margins > 4 * TOLERANCES[chosen] * np.sqrt(np.mean(expected**2))
    assert sure.any()
    assert np.array_equal(found.reshape(-1, WORDS).argmax(-1)[sure], flat.argmax(-1)[sure])


def small_encoder() -> CaptioningModel:
    """Pixels [12, 12, 3] through the kinds of layers that encoders have."""
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    encoder = tf_keras.Sequential(
        [
            tf_keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 127.5, -1.0, name="preprocessing"),
            layers.Conv2D(48, 3, strides=2, padding="same", use_bias=False, name="first"),
            layers.BatchNormalization(name="first_norm"),
            layers.ReLU(6.0, name="first_relu"),
            layers.DepthwiseConv2D(3, padding="same", name="second"),
            layers.Conv2D(32, 1, name="third"),
            layers.Reshape((36, 32), name="features"),
        ]
    )
    return CaptioningModel(encoder, tiny_decoder("merge"))


@pytest.mark.parametrize("chosen", TOLERANCES)
def test_an_encoder_agrees_with_its_float_model_in_every_format(chosen: Format) -> None:
    model = small_encoder()
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.uint8)
    graph = export_encoder(model, list(images), chosen)
    assert custom_operations(graph) == set()
    expected = model.encoder(images.astype(np.float32)).numpy()
    assert relative_error(encode_images(graph, images[:3]), expected[:3]) < TOLERANCES[chosen]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["int8", "dynamic"])
def test_an_encoders_named_layers_stay_in_float(chosen: Format) -> None:
    model = small_encoder()
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.uint8)
    kept = kept_float(model, ["encoder/third"])["encoder"]
    graphs = [export_encoder(model, list(images), chosen, layers) for layers in (kept, NOTHING_KEPT)]
    expected = model.encoder(images.astype(np.float32)).numpy()
    partly, whole = (relative_error(encode_images(graph, images), expected) for graph in graphs)
    assert partly < whole
    assert len(graphs[0]) - len(graphs[1]) > 2 * 48 * 32  # of its weights, three more bytes each


def with_zeros(model: CaptioningModel, share: float) -> CaptioningModel:
    """The encoder with so many zeros in its 1x1 convolution."""
    kernel = model.encoder.get_layer("third").kernel
    values = kernel.numpy()
    kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), share), 0, values))
    return model


@pytest.mark.parametrize(("share", "is_sparse"), [(0.6, False), (0.8, True)])
def test_kernels_are_stored_sparse_where_that_can_make_them_faster(share: float, is_sparse: bool) -> None:
    model = with_zeros(small_encoder(), share)
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.uint8)
    graph = export_encoder(model, (), "float32")
    tensors = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph)).subgraphs[0].tensors
    assert any(tensor.sparsity is not None for tensor in tensors) == is_sparse
    for count in (1, 8, 3):
        expected = model.encoder(images[:count].astype(np.float32)).numpy()
        assert relative_error(encode_images(graph, images[:count]), expected) < TOLERANCES["float32"]


@pytest.mark.parametrize("chosen", ["float16", "dynamic", "int8"])
def test_other_formats_have_no_sparse_tensors(chosen: Format) -> None:
    model = with_zeros(small_encoder(), 0.8)
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.uint8)
    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(export_encoder(model, list(images), chosen)))
    assert all(tensor.sparsity is None for tensor in graph.subgraphs[0].tensors)


@given(arrays(np.float32, (4, 6), elements=st.floats(-100, 100, width=32)))
@settings(deadline=None)
def test_quantized_rows_are_within_half_a_step(table: np.ndarray) -> None:
    steps, scales = quantize_rows(table)
    assert steps.dtype == np.int8
    assert np.all(np.abs(steps * scales - table) <= 0.5001 * scales + 1e-30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "bytes_a_weight"), [("float32", 4), ("float16", 2), ("dynamic", 1), ("int8", 1), ("int16x8", 1)]
)
def test_a_tied_embedding_is_stored_once(chosen: Format, bytes_a_weight: int) -> None:
    config = SoftAttentionConfig(vocabulary_size=300, feature_channels=8, units=16, embedding_units=64, value_units=16)
    encoder = tf_keras.Sequential([tf_keras.layers.Reshape((4, 8), input_shape=(2, 2, 8))])
    decoder = SoftAttentionDecoder(config)
    before = decoder.embedding.numpy()
    features = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    _, step = export_decoder(CaptioningModel(encoder, decoder), chosen, list(features), max_tokens=3)
    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(step))
    sizes = [len(buffer.data) for buffer in graph.buffers if buffer.data is not None]
    assert [size for size in sizes if size >= 300 * 64] == [300 * 64 * bytes_a_weight]
    assert np.array_equal(decoder.embedding.numpy(), before)


@given(arrays(np.float32, (5, 1), elements=st.floats(2.0**-10, 1.0, width=32)))
def test_scales_are_multiples_of_a_unit(scales: NDArray[np.float32]) -> None:
    multiples, unit = as_multiples(scales)
    np.testing.assert_allclose(multiples * unit, scales, rtol=1e-4)


@pytest.mark.slow
def test_every_row_of_a_long_embedding_keeps_its_own_scale() -> None:
    """The converter would round a table of 1,024 scales or more, and words of small embeddings with it."""
    decoder = tiny_decoder("soft_attention", **{**SIZES, **ATTENTION, "vocabulary_size": 1500})
    sizes = np.geomspace(1.0, 1e-3, 1500, dtype=np.float32)[:, None]
    decoder.embedding.assign(np.random.default_rng(1).uniform(-1, 1, decoder.embedding.shape) * sizes)
    _, step = export_decoder(captioner_of(decoder), "dynamic")
    constants = [buffer.data for buffer in flatbuffer_utils.convert_bytearray_to_object(bytearray(step)).buffers]
    _, scales = quantize_rows(decoder.embedding.numpy())
    multiples, _ = as_multiples(scales)
    assert any(data is not None and bytes(data) == multiples.tobytes() for data in constants)
