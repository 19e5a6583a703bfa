"""A bundle is known without being loaded, and travels to machines that don't have it."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from caption_core.captioner import load_captioner
from caption_core.engine.captioner_spec import bundle_captioner
from caption_core.errors import BundleError, UsageError
from tests.bundle_builders import paint


@pytest.mark.slow
def test_a_bundle_works_where_it_is_and_where_it_is_not(tiny_int8_bundle: Path, tmp_path: Path) -> None:
    here = tmp_path / "bundle"
    shutil.copytree(tiny_int8_bundle, here)
    spec = bundle_captioner(here)
    local = load_captioner(here)
    assert (spec.model_id, spec.search) == (local.model_id, local.search)

    images = np.random.default_rng(1).integers(0, 255, (3, *local.image_size, 3), np.uint8)
    expected = local.caption(images)
    sent = pickle.dumps(spec.load)
    assert pickle.loads(sent)(1).caption(images) == expected

    shutil.rmtree(here)  # as on a machine that never had it
    elsewhere = pickle.loads(sent)(1)
    assert elsewhere.model_id == spec.model_id
    assert elsewhere.caption(images) == expected


@pytest.mark.slow
def test_another_bundle_under_the_same_path_is_not_mistaken_for_it(
    tiny_bundle: Path, tiny_int8_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_int8_bundle, folder)
    spec = bundle_captioner(folder)
    shutil.rmtree(folder)
    shutil.copytree(tiny_bundle, folder)
    assert spec.load(1).model_id == spec.model_id


@pytest.mark.slow
def test_a_float_bundle_computes_in_the_precision_asked_for(tiny_bundle: Path) -> None:
    # What it was trained on: of noise it says what rounding decides.
    images = np.stack([paint(colour, "plain wall") for colour in ("red", "green", "white")])
    loaded = [bundle_captioner(tiny_bundle, precision).load(1) for precision in ("float32", "bfloat16")]
    exact, coarse = (captioner.caption(images) for captioner in loaded)
    assert [caption.score for caption in exact] != [caption.score for caption in coarse]
    np.testing.assert_allclose([c.score for c in exact], [c.score for c in coarse], atol=0.1)


def test_a_compressed_bundle_keeps_its_precision(tiny_int8_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"can't compute in float16: .*compressed"):
        bundle_captioner(tiny_int8_bundle, "float16")


def test_an_unknown_precision_is_wrong_usage(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="float32, bfloat16 or float16, not int8"):
        bundle_captioner(tiny_bundle, "int8")


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=str(tmp_path)):
        bundle_captioner(tmp_path)
