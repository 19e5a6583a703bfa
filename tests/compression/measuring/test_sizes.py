from pathlib import Path

import numpy as np
import pytest

from caption_core.bundle import MANIFEST, VOCABULARY, open_bundle
from caption_core.errors import BundleError
from caption_core.models.weights import WEIGHTS
from compression.measuring.sizes import measure_sizes
from compression.storage import store_bundle
from tests.compression.measuring.weight_bundles import dense_graph, float_bundle, floats, litert_bundle

NOISE = np.random.default_rng(0).normal(size=(100, 200)).astype(np.float32)


@pytest.fixture
def like(bundled: Path) -> Path:
    return bundled / "captioner"


def test_a_float_bundle_is_counted_part_by_part(like: Path, tmp_path: Path) -> None:
    weights = {
        "encoder/conv/kernel": floats([[1, 1], [0, 2]]),
        "encoder/conv/bias": floats([0, 3]),
        "decoder/embedding": floats([[5, 6, 7], [8, 9, 0]]),
        "decoder/gate/kernel": floats([[5, 5], [5, 5]]),
        "masks/gate": np.ones((4, 4), np.float32),
    }
    sizes = measure_sizes(float_bundle(like, tmp_path / "b", weights))
    encoder, decoder, whole = sizes["encoder"], sizes["decoder"], sizes["whole"]
    assert (encoder.parameters, encoder.nonzeros, encoder.distinct_values) == (6, 4, 3)
    assert (decoder.parameters, decoder.nonzeros, decoder.distinct_values) == (10, 9, (6 + 1) / 2)
    assert (whole.parameters, whole.nonzeros, whole.distinct_values) == (16, 13, (3 + 6 + 1) / 3)
    assert encoder.raw_bytes == encoder.stored_bytes == 6 * 4
    assert decoder.raw_bytes == decoder.stored_bytes == 10 * 4


def test_the_whole_is_the_folder(tiny_int8_bundle: Path, tiny_bundle: Path) -> None:
    for folder in (tiny_int8_bundle, tiny_bundle):
        sizes = measure_sizes(open_bundle(folder))
        assert sizes["whole"].stored_bytes == sum(path.stat().st_size for path in folder.iterdir())
        assert sizes["vocabulary"].stored_bytes == (folder / VOCABULARY).stat().st_size
        parts = [sizes[part] for part in ("encoder", "decoder", "vocabulary")]
        assert 0.9 * sizes["whole"].stored_bytes < sum(part.stored_bytes for part in parts)
        assert sum(part.parameters for part in parts) == sizes["whole"].parameters


def test_int8_has_the_decoder_of_its_parent_at_a_quarter_of_the_bytes(
    tiny_bundle: Path, tiny_int8_bundle: Path
) -> None:
    before, after = (measure_sizes(open_bundle(folder)) for folder in (tiny_bundle, tiny_int8_bundle))
    # The converter folds some biases, and a table as small as these is not shared with the output layer.
    assert after["decoder"].parameters == pytest.approx(before["decoder"].parameters, rel=0.02)
    assert after["encoder"].stored_bytes < 0.35 * before["encoder"].stored_bytes
    assert after["encoder"].distinct_values <= 256 < before["encoder"].distinct_values


def test_a_compressed_file_is_divided_by_what_its_parts_compress_to(like: Path, tmp_path: Path) -> None:
    sparse = np.where(np.abs(NOISE) > 2, NOISE, 0).astype(np.float32)
    plain = float_bundle(like, tmp_path / "b", {"encoder/a/kernel": NOISE, "decoder/b/kernel": sparse})
    stored = store_bundle(plain.folder, tmp_path / "xz", "xz")
    sizes = measure_sizes(stored)
    (name,) = (name for name in stored.manifest.files if name.startswith(WEIGHTS))
    encoder, decoder = sizes["encoder"], sizes["decoder"]
    assert name != WEIGHTS
    assert encoder.raw_bytes == decoder.raw_bytes == NOISE.nbytes
    assert encoder.stored_bytes + decoder.stored_bytes == pytest.approx((stored.folder / name).stat().st_size, abs=1)
    assert decoder.stored_bytes < 0.2 * encoder.stored_bytes
    # What a user downloads shrinks; what it expands to does not, but for the manifest and the model card.
    whole, whole_before = sizes["whole"], measure_sizes(plain)["whole"]
    assert whole.stored_bytes == stored.num_bytes() < 0.8 * whole_before.stored_bytes
    assert whole.raw_bytes == pytest.approx(whole_before.raw_bytes, abs=10_000)


def test_litert_graphs_have_their_own_files(like: Path, tmp_path: Path) -> None:
    graphs = [dense_graph(NOISE, np.arange(200, dtype=np.float32), weights) for weights in ("int8", "float16")]
    bundle = litert_bundle(like, tmp_path / "b", graphs[0], graphs[1], graphs[1])
    sizes = measure_sizes(bundle)
    assert sizes["encoder"].raw_bytes == sizes["encoder"].stored_bytes == len(graphs[0])
    assert sizes["decoder"].raw_bytes == sizes["decoder"].stored_bytes == 2 * len(graphs[1])
    assert sizes["whole"].stored_bytes == bundle.num_bytes() > (bundle.folder / MANIFEST).stat().st_size


def test_a_file_that_holds_no_weights_is_named(like: Path, tmp_path: Path) -> None:
    bundle = float_bundle(like, tmp_path / "b", {})
    (bundle.folder / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"weights\.safetensors: not a weights file"):
        measure_sizes(bundle)
