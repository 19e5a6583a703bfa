from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from compression.quantize import QuantizeConfig, image_files, quantize_bundle
from tests.bundle_builders import SyntheticSet


def test_a_compressed_bundle_names_its_parent_and_is_far_smaller(tiny_bundle: Path, tiny_int8_bundle: Path) -> None:
    parent, compressed = open_bundle(tiny_bundle), open_bundle(tiny_int8_bundle)
    assert compressed.manifest.provenance.parent == parent.model_id
    assert compressed.manifest.runtime == "litert"
    assert compressed.num_bytes() < 0.4 * parent.num_bytes()


def test_a_compressed_bundle_can_not_be_compressed_again(
    tiny_int8_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    files = image_files(synthetic_set.folder / "images", None)
    with pytest.raises(UsageError, match="compressed already"):
        quantize_bundle(QuantizeConfig(tiny_int8_bundle, tmp_path / "b", files), command="")


def test_a_calibration_image_that_is_none_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    config = QuantizeConfig(tiny_bundle, tmp_path / "b", image_files(tmp_path, None))
    with pytest.raises(UsageError, match=r"bad\.jpg"):
        quantize_bundle(config, command="")
    assert not (tmp_path / "b").exists()


def test_calibration_needs_images(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no calibration image"):
        QuantizeConfig(tiny_bundle, tmp_path / "b", image_files(tmp_path, None))
