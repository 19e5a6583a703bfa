"""Captioners shared by tests: trained on synthetic photographs once a session, in float and in int8."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

# Both must be set before TensorFlow is first imported, by whichever test comes first.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Ray reads its token once a process: all clusters that tests start in this one must agree on it.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

from tests.bundle_builders import SyntheticSet, train_tiny, write_synthetic_set

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The captioner and photographs that come with the project."""
    return ROOT / "caption_core" / "assets"


@pytest.fixture(scope="session")
def synthetic_set(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    """Twelve synthetic photographs with captions."""
    return write_synthetic_set(tmp_path_factory.mktemp("synthetic") / "set")


@pytest.fixture(scope="session")
def tiny_bundle(synthetic_set: SyntheticSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float bundle that captions the synthetic photographs."""
    return train_tiny(synthetic_set, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_int8_bundle(synthetic_set: SyntheticSet, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same captioner, quantized for LiteRT."""
    from compression.quantize import QuantizeConfig, image_files, quantize_bundle

    output = tmp_path_factory.mktemp("tiny-int8") / "bundle"
    files = image_files(synthetic_set.folder / "images", None)
    return quantize_bundle(QuantizeConfig(tiny_bundle, output, files, images=12), command="a test").folder
