import shutil
from pathlib import Path

import numpy as np
import pytest

from caption_core.bundle import MANIFEST, MODEL_CARD, VOCABULARY, Bundle, open_bundle
from caption_core.captioner import load_captioner
from caption_core.errors import BundleError, UsageError
from caption_core.models.weights import WEIGHTS, bundle_weights
from caption_core.runtimes.litert import DECODER_STEP
from caption_core.runtimes.tensorflow import load_model
from compression.storage import store_bundle
from tests.bundle_builders import SyntheticSet
from tests.bundled_agreement import photographs
from tests.step_contexts import quantized


@pytest.fixture(scope="module")
def captioner(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled captioner with its files as they are; it comes along compressed."""
    return store_bundle(bundled / "captioner", tmp_path_factory.mktemp("plain") / "bundle", "none").folder


@pytest.fixture(scope="module")
def stored(captioner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_bundle(captioner, tmp_path_factory.mktemp("stored") / "bundle", "zstd").folder


@pytest.fixture(scope="module")
def stored_float(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_bundle(tiny_bundle, tmp_path_factory.mktemp("stored") / "float", "zstd").folder


def check_it_captions_as_before(plain: Bundle, stored: Bundle) -> None:
    assert stored.num_bytes() < 0.9 * plain.num_bytes()
    assert stored.model_id == plain.model_id
    images = np.stack(list(photographs(plain).values()))
    assert load_captioner(stored.folder).caption(images) == load_captioner(plain.folder).caption(images)


@pytest.mark.slow
def test_a_stored_bundle_is_smaller_and_captions_exactly_as_before(captioner: Path, stored: Path) -> None:
    check_it_captions_as_before(open_bundle(captioner), open_bundle(stored))


@pytest.mark.slow
def test_a_stored_bundle_of_xz_captions_exactly_as_before(captioner: Path, stored: Path, tmp_path: Path) -> None:
    smaller = store_bundle(stored, tmp_path / "xz", "xz")
    assert smaller.num_bytes() < open_bundle(stored).num_bytes()
    check_it_captions_as_before(open_bundle(captioner), smaller)


def test_the_rest_stays_readable_and_the_card_tells(captioner: Path, stored: Path) -> None:
    before, after = open_bundle(captioner).manifest, open_bundle(stored).manifest
    assert {VOCABULARY, MODEL_CARD} <= after.files.keys()
    assert after.provenance.steps == (*before.provenance.steps, "store: weights compressed with zstd")
    assert "store: weights compressed with zstd" in (stored / MODEL_CARD).read_text(encoding="utf-8")
    assert after.metrics == before.metrics


def test_a_stored_bundle_can_be_expanded_in_its_own_place(captioner: Path, stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(stored, folder)
    store_bundle(folder, folder, "none")
    assert (folder / DECODER_STEP).read_bytes() == (captioner / DECODER_STEP).read_bytes()
    assert "expanded" not in (folder / MANIFEST).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_float_bundle_of_compressed_weights_is_the_same_model(tiny_bundle: Path, stored_float: Path) -> None:
    plain, compressed = open_bundle(tiny_bundle), open_bundle(stored_float)
    assert compressed.is_compressed(WEIGHTS)
    assert compressed.digest == plain.digest
    before, after = bundle_weights(plain), bundle_weights(compressed)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    one, other = load_model(plain).decoder, load_model(compressed).decoder
    assert all(np.array_equal(*pair) for pair in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.slow
def test_a_float_bundle_of_compressed_weights_can_be_quantized(
    tiny_bundle: Path, stored_float: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    child = open_bundle(quantized(stored_float, synthetic_set, tmp_path / "int8"))
    assert child.manifest.provenance.parent == open_bundle(tiny_bundle).model_id
    assert child.manifest.expanded == {}


def test_an_altered_compressed_file_is_named(stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(stored, folder)
    bundle = open_bundle(folder)
    (name,) = (name for name in bundle.manifest.files if name.startswith(DECODER_STEP))
    content = bytearray((folder / name).read_bytes())
    content[1000] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}: altered"):
        open_bundle(folder)
    with pytest.raises(BundleError, match=name):
        bundle.read(DECODER_STEP)


def test_an_unknown_codec_is_refused(captioner: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows zstd, xz, none"):
        store_bundle(captioner, tmp_path / "stored", "brotli")
    assert not (tmp_path / "stored").exists()
