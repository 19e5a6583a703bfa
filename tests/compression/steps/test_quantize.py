import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from caption_core.errors import UsageError
from caption_core.runtimes.litert import ENCODER
from caption_core.runtimes.tensorflow import load_model
from compression import encoder_quantization
from compression.export import export_encoder
from compression.settings.quantization import Quantize
from compression.steps.quantize import apply
from tests.bundle_builders import COLOURS, PATTERNS, paint
from tests.compression.builders import bundle_with_slim_encoder
from tests.compression.conftest import MakeContext


@pytest.mark.slow
def test_each_part_has_its_format_and_captions_stay_what_they_were(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    bundle = apply(Quantize(encoder="float16", decoder="int16x8", calibration_images=6), context)
    images = np.stack([paint(colour, pattern) for colour in COLOURS for pattern in PATTERNS])
    expected, found = (load_captioner(folder).caption(images) for folder in (context.parent.folder, bundle.folder))
    agreeing = sum(one.text == other.text for one, other in zip(found, expected, strict=True))
    assert agreeing >= len(images) - 2
    said = bundle.manifest.provenance.steps[-1]
    assert said == "quantize: encoder float16, decoder int16x8; ranges measured on 6 training images"


@pytest.mark.slow
def test_the_record_tells_the_error_of_every_layer(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    bundle = apply(Quantize(decoder="dynamic"), context)
    assert bundle.manifest.runtime == "litert"
    assert bundle.manifest.provenance.parent == context.parent.model_id
    record = json.loads((context.folder / "step.json").read_text())
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert layers["decoder/embedding"]["part"] == "decoder"
    assert 0 < layers["decoder/embedding"]["error"] < 0.5
    assert record["settings"]["decoder"] == "dynamic"


@pytest.mark.slow
def test_layers_of_the_decoder_stay_in_float_beside_an_encoder_that_was_trained_for_int8(
    make_context: MakeContext, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim = bundle_with_slim_encoder(tiny_bundle, tmp_path / "slim")
    as_it_was_trained = export_encoder(load_model(open_bundle(slim)), (), "float16")
    monkeypatch.setattr(encoder_quantization, "export_trained_quantization", lambda _: as_it_was_trained)
    context = make_context(parent=slim, captions=False)
    step = Quantize(encoder="int8", decoder="dynamic", calibration_images=3, keep_float=("gates_from_h",))
    bundle = apply(step, context)
    assert bundle.path(ENCODER).read_bytes() == as_it_was_trained
    assert "gates_from_h kept in float" in bundle.manifest.provenance.steps[-1]

    with pytest.raises(UsageError, match="is converted as it was trained"):
        apply(step.model_copy(update={"keep_float": ("gates_from_h", "Conv_1")}), context)


def test_a_calibrated_format_needs_images(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    with pytest.raises(UsageError, match="needs training images"):
        apply(Quantize(decoder="int8"), replace(context, images=None))
    with pytest.raises(UsageError, match="no calibration image"):
        apply(Quantize(decoder="int8"), replace(context, train_names=()))


def test_a_calibration_image_that_is_none_is_named(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    context = replace(make_context(captions=False), images=tmp_path, train_names=("bad.jpg",))
    with pytest.raises(UsageError, match=r"bad\.jpg"):
        apply(Quantize(encoder="int8"), context)
    assert not context.output.exists()


def test_a_compressed_bundle_can_not_be_compressed_again(make_context: MakeContext, tiny_int8_bundle: Path) -> None:
    with pytest.raises(UsageError, match="compressed already"):
        apply(Quantize(decoder="dynamic"), make_context(parent=tiny_int8_bundle, captions=False))


def test_a_compressed_bundle_names_its_parent_and_is_far_smaller(tiny_bundle: Path, tiny_int8_bundle: Path) -> None:
    parent, compressed = open_bundle(tiny_bundle), open_bundle(tiny_int8_bundle)
    assert compressed.manifest.provenance.parent == parent.model_id
    assert compressed.manifest.runtime == "litert"
    assert compressed.num_bytes() < 0.4 * parent.num_bytes()
