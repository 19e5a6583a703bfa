from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras

from caption_core.bundle import VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.errors import BundleError
from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.runtimes.litert import DECODER_START, DECODER_STEP, ENCODER, LiteRTDecoder, LiteRTRuntime
from caption_core.search import SearchSettings, search
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
    fields = parent.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["architecture"]["decoder_config"] = asdict(decoder.config)
    words = "".join(f"word{number}\n" for number in range(16)).encode()
    files: dict[str, Path | bytes] = {ENCODER: parent.path(ENCODER), DECODER_START: start, DECODER_STEP: step}
    return write_bundle(folder, fields, {**files, VOCABULARY: words})


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
    start = bundled / "captioner" / DECODER_START
    with pytest.raises(BundleError, match=f"{DECODER_START}: not a decoder's step"):
        LiteRTDecoder(start, start, threads=1)
