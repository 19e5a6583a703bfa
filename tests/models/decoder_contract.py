"""What every decoder must hold, as checks that its test file runs on tiny sizes and random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tensorflow.lite.python.schema_py_generated import BuiltinOperator
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.precision import layers_computing_in
from caption_core.models.weights import assign_weights, named_weights
from caption_core.runtimes.litert import GraphFile, LiteRTDecoder
from caption_core.search import SearchSettings, State, Step, search
from caption_core.vocabulary import END, START
from compression.export import export_decoder, quantize_rows

LOCATIONS, CHANNELS, VOCABULARY = 9, 6, 13


def tiny_decoder(name: str, **settings: Any) -> Decoder:
    """A decoder with random weights larger than at the start of training, so that every path matters."""
    sizes = {"vocabulary_size": VOCABULARY, "feature_channels": CHANNELS, "units": 8, "embedding_units": 5}
    decoder = build_decoder(name, decoder_config(name, {**sizes, **settings}))
    _randomize(decoder)
    return decoder


def _randomize(decoder: Decoder) -> None:
    generator = np.random.default_rng(0)
    for weight in decoder.weights:
        weight.assign(generator.normal(scale=0.5, size=weight.shape))


def example(images: int, captions: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Features [images, LOCATIONS, CHANNELS] and tokens [images, captions, length]."""
    generator = np.random.default_rng(1)
    features = generator.normal(size=(images, LOCATIONS, CHANNELS)).astype(np.float32)
    tokens = generator.integers(0, VOCABULARY, (images, captions, length)).astype(np.int32)
    return tf.constant(features), tf.constant(tokens)


def first_steps(decoder: Decoder, features: tf.Tensor, tokens: tf.Tensor) -> NDArray[np.float32]:
    """The first image's first caption's logits [V] after all of its tokens."""
    logits: NDArray[np.float32] = decoder(features, tokens).numpy()[0, 0, -1]
    return logits


def numpy_lstm(gates: Any, c: Any) -> tuple[Any, Any]:
    """Gates (input, forget, cell, output), one after the other, and c to (h, c)."""
    write, forget, cell, read = np.split(gates, 4, axis=-1)
    c = c / (1 + np.exp(-forget)) + np.tanh(cell) / (1 + np.exp(-write))
    return np.tanh(c) / (1 + np.exp(-read)), c


def numpy_softmax(energies: Any) -> Any:
    """Over the last axis."""
    return np.exp(energies) / np.exp(energies).sum(axis=-1, keepdims=True)


def check_precision(decoder: Decoder, build: Callable[[], Decoder], precision: str, within: float) -> None:
    """Start and step computed in fewer bits give float32 arrays, nearly the same."""
    with layers_computing_in(precision):
        coarse = build()
    features, tokens = example(images=3, captions=1, length=1)
    results = []
    for one in (decoder, coarse):
        state, step = DecoderFunctions(one).start(features.numpy())
        logits, following = step(tokens.numpy()[:, :, 0], state)
        results.append([logits, *following])
    for exact, rounded in zip(*results, strict=True):
        assert rounded.dtype == np.float32
        np.testing.assert_allclose(rounded, exact, atol=within * max(1.0, float(np.abs(exact).max())))
    assert not np.array_equal(results[0][0], results[1][0])


def check_training_graph(decoder: Decoder) -> None:
    """Step by step as in the training graph; captions of an image don't mix; dropout follows its seed."""
    features, tokens = example(images=3, captions=2, length=5)
    unrolled = decoder(features, tokens)
    assert unrolled.shape == (3, 2, 5, VOCABULARY)
    state, memory = decoder.start(features)
    state = tuple(tf.repeat(part, 2, axis=1) for part in state)
    for position in range(5):
        logits, state = decoder.step(tokens[:, :, position], state, memory)
        np.testing.assert_allclose(logits, unrolled[:, :, position], atol=1e-4)
    alone = decoder(features[1:2], tokens[1:2, 1:2])
    np.testing.assert_allclose(alone[0, 0], unrolled[1, 1], atol=1e-4)
    assert not np.allclose(unrolled[0], unrolled[1], atol=1e-2)  # an image matters
    _check_dropout(decoder)


def _check_dropout(decoder: Decoder) -> None:
    features, tokens = example(images=2, captions=2, length=3)
    one = decoder(features, tokens, tf.constant((1, 0)))
    assert np.array_equal(one, decoder(features, tokens, tf.constant((1, 0))))
    assert not np.allclose(one, decoder(features, tokens, tf.constant((1, 16))))
    assert not np.allclose(one, decoder(features, tokens))


def check_every_weight_learns(decoder: Decoder) -> None:
    """No weight is left out of the graph, and none shares another's name in files."""
    features, tokens = example(images=3, captions=2, length=5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.softmax(decoder(features, tokens))[..., 4])
    gradients = tape.gradient(loss, decoder.trainable_variables)
    found = zip(decoder.trainable_variables, gradients, strict=True)
    still = [
        weight.name for weight, gradient in found if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]
    assert still == []
    weights = named_weights("decoder", decoder)
    assert len(weights) == len(decoder.weights)
    again = build_decoder(_name_of(decoder), decoder.config)
    assign_weights("decoder", again, weights)
    np.testing.assert_allclose(again(features, tokens), decoder(features, tokens), atol=1e-6)


def _name_of(decoder: Decoder) -> str:
    return type(decoder).__module__.rpartition(".")[2]


def check_search(decoder: Decoder) -> None:
    """Greedy search takes the most probable words, a beam's score is that of its caption, and a draw is repeated."""
    features, _ = example(images=3, captions=1, length=1)
    state, step = DecoderFunctions(decoder).start(features.numpy())
    assert [part.shape[:2] for part in state] == [(3, 1)] * len(decoder.state_shapes)
    greedy = search(step, state, SearchSettings(beam_width=1, max_tokens=6, length_penalty=0.0))
    beam = search(step, state, SearchSettings(beam_width=3, max_tokens=6, length_penalty=0.0))
    assert np.all(beam.scores[:, 0] >= greedy.scores[:, 0] - 1e-5)
    np.testing.assert_allclose(_score(step, state, beam.tokens[:, 0], beam.lengths[:, 0]), beam.scores[:, 0], atol=1e-4)
    drawn = decoder.sample(features, 2, 6, tf.constant((1, 2)))
    assert drawn.shape == (3, 2, 6)
    assert np.array_equal(drawn, decoder.sample(features, 2, 6, tf.constant((1, 2))))


def _score(step: Step, state: State, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
    """Log probability of whole captions, tokens [B, T], one step after the other."""
    total = np.zeros(len(tokens), np.float32)
    previous = np.full((len(tokens), 1), START, np.int32)
    for position in range(tokens.shape[1] + 1):
        logits, state = step(previous, state)
        words = np.where(position < lengths, tokens[:, min(position, tokens.shape[1] - 1)], END)
        log_p = np.log(tf.nn.softmax(logits[:, 0]).numpy())[np.arange(len(tokens)), words]
        total += np.where(position <= lengths, log_p, 0)
        previous = words[:, None].astype(np.int32)
    return total


def check_litert(decoder: Decoder, folder: Path) -> None:
    """LiteRT's graphs need no operation of TensorFlow, and agree with TensorFlow on any batch and beam."""
    embedding = decoder.embedding
    table, scales = quantize_rows(embedding.numpy())
    embedding.assign(table * scales)  # the graphs' rounded embedding; nothing else of these sizes is quantized
    runtime = export_to_litert(decoder, folder)
    functions = DecoderFunctions(decoder)
    for images, beams in ((2, 3), (1, 1)):
        features, tokens = example(images, beams, length=4)
        ours, theirs = functions.start(features.numpy()), runtime.start(features.numpy())
        _check_agreement(ours, theirs, tokens.numpy())
    settings = SearchSettings(beam_width=3, max_tokens=6)
    found = [search(step, state, settings) for state, step in (ours, theirs)]
    assert np.array_equal(found[0].tokens, found[1].tokens)


def _check_agreement(ours: tuple[State, Step], theirs: tuple[State, Step], tokens: NDArray[np.int32]) -> None:
    states = [tuple(np.repeat(part, tokens.shape[1], axis=1) for part in state) for state, _ in (ours, theirs)]
    for position in range(tokens.shape[2]):
        expected, states[0] = ours[1](tokens[:, :, position], states[0])
        logits, states[1] = theirs[1](tokens[:, :, position], states[1])
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def export_to_litert(decoder: Decoder, folder: Path, locations: int = LOCATIONS) -> LiteRTDecoder:
    """The decoder's LiteRT graphs, free of operations that are not LiteRT's own."""
    shape = (locations, decoder.config.feature_channels)
    encoder = tf_keras.Sequential([tf_keras.layers.Reshape(shape, input_shape=shape)])
    graphs = dict(zip(("start", "step"), export_decoder(CaptioningModel(encoder, decoder)), strict=True))
    for name, graph in graphs.items():
        (folder / f"{name}.tflite").write_bytes(graph)
        assert custom_operations(graph) == set()
    start, step = (GraphFile(folder / f"{name}.tflite") for name in graphs)
    return LiteRTDecoder(start, step, threads=1)


def custom_operations(graph: bytes) -> set[str]:
    """Names of a LiteRT graph's operations from outside LiteRT: Flex ones are TensorFlow's."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    return {code.customCode.decode() for code in model.operatorCodes if code.customCode}


def builtin_operations(graph: bytes) -> set[str]:
    """Names of a LiteRT graph's own operations."""
    names = {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes}
