from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.errors import BundleError
from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.runtimes.litert import DECODER_START, DECODER_STEP, ENCODER, GraphFile, LiteRTDecoder, LiteRTRuntime
from caption_core.search import SearchSettings, State, Step, search
from compression.export import export_decoder

SIZES = {"vocabulary_size": 20, "feature_channels": 1280, "units": 16, "embedding_units": 8}


@pytest.fixture
def decoder() -> Decoder:
    tf_keras.utils.set_random_seed(1)
    sizes: dict[str, Any] = {**SIZES, "cell": "gru", "heads": 2, "value_units": 16, "attention_units": 8}
    return build_decoder("soft_attention", decoder_config("soft_attention", sizes))


def with_decoder(parent: Bundle, decoder: Decoder, folder: Path) -> Bundle:
    """The bundled captioner with another decoder."""
    encoder = tf_keras.Sequential([tf_keras.layers.Reshape((49, 1280), input_shape=(49, 1280))])
    start, step = export_decoder(CaptioningModel(encoder, decoder))
    fields = parent.manifest.model_dump(mode="json", exclude={"files", "schema_version", "expanded"})
    fields["architecture"]["decoder_config"] = asdict(decoder.config)
    words = "".join(f"word{number}\n" for number in range(16)).encode()
    files: dict[str, Path | bytes] = {ENCODER: parent.read(ENCODER), DECODER_START: start, DECODER_STEP: step}
    return write_bundle(folder, fields, {**files, VOCABULARY: words})


@pytest.mark.slow
def test_a_bundle_of_another_state_runs_as_its_model_does(bundled: Path, decoder: Decoder, tmp_path: Path) -> None:
    """A GRU has one array of state where the bundled captioner's LSTM has two."""
    bundle = with_decoder(open_bundle(bundled / "captioner"), decoder, tmp_path / "bundle")
    assert open_bundle(bundle.folder).manifest.architecture.decoder_config["cell"] == "gru"
    runtime = LiteRTRuntime(bundle, threads=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    features = runtime.encode(images)
    state, step = runtime.start(features)
    assert [part.shape for part in state] == [(2, 1, 16)]
    expected_state, expected_step = DecoderFunctions(decoder).start(features)
    settings = SearchSettings(beam_width=3, max_tokens=5)
    found, expected = search(step, state, settings), search(expected_step, expected_state, settings)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.02)


def test_a_step_that_names_no_state_is_refused(bundled: Path) -> None:
    start = GraphFile.of(open_bundle(bundled / "captioner"), DECODER_START)
    with pytest.raises(BundleError, match=f"{DECODER_START}: not a decoder's step"):
        LiteRTDecoder(start, start, threads=1)


def test_a_graph_that_is_none_is_named_where_it_was_compressed() -> None:
    graph = GraphFile(Path("bundle", DECODER_STEP), b"nonsense")
    with pytest.raises(BundleError, match=f"bundle/{DECODER_STEP}: not a LiteRT graph"):
        LiteRTDecoder(graph, graph, threads=1)


@pytest.fixture(scope="module")
def runtime(bundled: Path) -> LiteRTRuntime:
    return LiteRTRuntime(open_bundle(bundled / "captioner"), threads=1)


def features_of(images: int, seed: int) -> NDArray[np.float32]:
    """As the encoder's: not negative."""
    return np.abs(np.random.default_rng(seed).normal(size=(images, 49, 1280))).astype(np.float32)


def spoken(step: Step, state: State, tokens: NDArray[np.int32]) -> list[NDArray[np.float32]]:
    """Logits of each step over the same tokens, int32 [T, B, K]."""
    state = tuple(np.repeat(part, tokens.shape[2], axis=1) for part in state)
    found = []
    for words in tokens:
        logits, state = step(words, state)
        found.append(logits)
    return found


def test_a_batchs_memory_stays_over_its_steps_and_is_not_anothers(bundled: Path, runtime: LiteRTRuntime) -> None:
    """Memory is set once a search: steps of two batches in turn, and of other sizes between, give what new ones do."""
    tokens = np.random.default_rng(2).integers(4, 1000, (5, 6, 3)).astype(np.int32)
    expected = []
    for seed in (0, 1):
        alone = LiteRTRuntime(open_bundle(bundled / "captioner"), threads=1)
        state, step = alone.start(features_of(6, seed))
        expected.append(spoken(step, state, tokens))
    batches = [runtime.start(features_of(6, seed)) for seed in (0, 1)]
    assert not np.array_equal(expected[0][0], expected[1][0])
    states = [tuple(np.repeat(part, 3, axis=1) for part in state) for state, _ in batches]
    for position, words in enumerate(tokens):
        for which, (_, step) in enumerate(batches):
            logits, states[which] = step(words, states[which])
            assert np.array_equal(logits, expected[which][position])
    state, step = runtime.start(features_of(2, 3))
    spoken(step, state, tokens[:, :2])
    assert np.array_equal(spoken(batches[0][1], batches[0][0], tokens)[-1], expected[0][-1])


def test_the_step_of_some_images_gives_their_logits(runtime: LiteRTRuntime) -> None:
    tokens = np.random.default_rng(2).integers(4, 1000, (4, 9, 3)).astype(np.int32)
    state, step = runtime.start(features_of(9, 0))
    every = spoken(step, state, tokens)
    for images in (np.array([0, 4, 8]), np.array([7]), np.arange(8)):
        some = spoken(step.of(images), tuple(part[images] for part in state), tokens[:, images])
        assert all(np.array_equal(one, other[images]) for one, other in zip(some, every, strict=True))
    again = step.of(np.arange(1, 9)).of(np.array([3]))
    some = spoken(again, tuple(part[4:5] for part in state), tokens[:, 4:5])
    assert all(np.array_equal(one, other[4:5]) for one, other in zip(some, every, strict=True))
