from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from caption_core.models.decoder import Decoder
from caption_core.models.weights import bundle_weights
from caption_core.runtimes.litert import GraphFile, LiteRTDecoder
from caption_core.runtimes.tensorflow import load_model
from compression.decoder_quantization import RoundedDecoder, quantize_decoder_aware
from compression.encoder_quantization import quantized_copy, ranges_of
from compression.export import export_decoder
from compression.places import replaced
from compression.products import channel_axes
from compression.rounding import rounded_channels
from compression.settings.quantization import QuantizationAware
from compression.settings.training import Training
from tests.compression.builders import bundle_with_slim_encoder, rewritten
from tests.compression.conftest import MakeContext
from tests.compression.test_export import DECODERS, captioner_of, random_features
from tests.models.decoder_contract import tiny_decoder

WORDS = 60


def decoder_of_real_proportions(kind: str) -> Decoder:
    """Most matrices are large enough to be rounded, some are not."""
    name, sizes = DECODERS[kind]
    attention: dict[str, Any] = {key: 64 for key in ("value_units", "attention_units") if key in sizes}
    larger: dict[str, Any] = {"units": 64, "embedding_units": 32, "vocabulary_size": WORDS}
    return tiny_decoder(name, **{**sizes, **attention, **larger})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru", "heads", "up_down", "aoa", "merge", "tied"])
def test_training_rounds_what_litert_rounds(kind: str, tmp_path: Path) -> None:
    decoder = decoder_of_real_proportions(kind)
    model = captioner_of(decoder)
    paths = [tmp_path / f"{name}.tflite" for name in ("start", "step")]
    for path, graph in zip(paths, export_decoder(model), strict=True):
        path.write_bytes(graph)
    features = random_features(3)
    tokens = np.random.default_rng(1).integers(4, WORDS, (3, 2, 4)).astype(np.int32)
    state, step = LiteRTDecoder(*map(GraphFile, paths), threads=1).start(features)
    state = tuple(np.repeat(part, 2, axis=1) for part in state)
    constraint = RoundedDecoder(model)
    with replaced(constraint.values(tf.constant((1, 1))), constraint.places), constraint.traced():
        first, memory = decoder.start(tf.constant(features))
        # LiteRT's states have their names' order.
        order = [sorted(decoder.state_shapes).index(name) for name in decoder.state_shapes]
        for ours, place in zip(first, order, strict=True):
            np.testing.assert_allclose(ours, state[place][:, :1], atol=1e-4)
        errors = []
        for position in range(tokens.shape[2]):
            given = tuple(tf.constant(state[place]) for place in order)
            simulated, _ = decoder.step(tf.constant(tokens[:, :, position]), given, memory)
            logits, state = step(tokens[:, :, position], state)
            errors.append(np.abs(logits - simulated).max(axis=-1))
    # A value at the edge between two integers may fall to either side, and that is seen.
    assert np.mean(np.stack(errors) < 2e-3) > 0.85


def test_what_is_kept_are_integers_times_a_scale() -> None:
    decoder = decoder_of_real_proportions("lstm")
    constraint = RoundedDecoder(captioner_of(decoder))
    kernel = decoder.gates_from_h.kernel
    trained = kernel.numpy()
    with constraint.materialized():
        kept = kernel.numpy()
    steps = kept / (np.abs(kept).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    np.testing.assert_array_equal(kernel.numpy(), trained)
    assert not np.array_equal(kept, trained)


@pytest.mark.slow
def test_the_step_trains_and_writes_a_float_bundle(make_context: MakeContext) -> None:
    step = QuantizationAware(part="decoder", training=Training(epochs=2, learning_rate=1e-3, warmup_steps=1))
    context = make_context()
    bundle = quantize_decoder_aware(step, context)
    model, parent = load_model(bundle), load_model(context.parent)
    for place, before in zip(RoundedDecoder(model).places, RoundedDecoder(parent).places, strict=True):
        found = place.variable.numpy()
        np.testing.assert_allclose(rounded_channels(place.variable, channel_axes(place)), found, rtol=1e-5, atol=1e-7)
        assert not np.array_equal(found, before.variable.numpy())
    assert '"history"' in (context.folder / "step.json").read_text()


@pytest.mark.slow
def test_ranges_of_an_encoder_that_was_trained_for_int8_are_passed_on(
    make_context: MakeContext, tiny_bundle: Path, tmp_path: Path
) -> None:
    parent = open_bundle(bundle_with_slim_encoder(tiny_bundle, tmp_path / "slim"))
    ranges = ranges_of(quantized_copy(load_model(parent).encoder))
    folder = rewritten(parent, tmp_path / "parent", {**bundle_weights(parent), **ranges}).folder
    alone = QuantizationAware(part="decoder", training=Training(epochs=1, learning_rate=1e-4))
    bundle = quantize_decoder_aware(alone, make_context(parent=folder))
    found = bundle_weights(bundle)
    assert all((found[name] == values).all() for name, values in ranges.items())
    along = QuantizationAware(part="decoder", training=Training(encoder_from="block_16"))
    with pytest.raises(UsageError, match="trained for int8 already"):
        quantize_decoder_aware(along, make_context(parent=folder, name="along"))
