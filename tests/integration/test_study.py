"""A study on a real local Ray: the tiny captioner, a small grid, real data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from compression.measurement import MEASUREMENT, Measurement, read_measurement
from tests.bundle_builders import SyntheticSet
from tests.integration.ray_head import clean_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STUDY = """name: tiny
axes:
  decoder:
    sparse: [&sparse {hard: {part: decoder, sparsity: 0.5, training: {epochs: 1}}}]
variants:
  int8: [*sparse, {quantize: {encoder: int8, calibration_images: 4}}]
  impossible: [*sparse, {cluster: {part: decoder, clusters: 2, training: null}}]
finish: [{store: {codec: zstd}}]
"""
UNTIMED = ("--no-time",)


def run_job(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "train_compress.py"), *map(str, arguments)]
    environment = clean_environment()
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


def data_options(data: SyntheticSet) -> list[str | Path]:
    split = data.folder / "train.txt"
    return [
        *("--images", data.folder / "images", "--captions", data.folder / "captions.token.txt"),
        *("--train-split", split, "--dev-split", split, "--score-split", split, "--max-tokens", "8", "--views", "1"),
    ]


def study_options(study: Path, model: Path, data: SyntheticSet) -> list[str | Path]:
    output = study.parent / "out"
    return [study, "--model", model, "--output", output, *data_options(data), "--beam-width", "1"]


@pytest.fixture(scope="module")
def finished(
    synthetic_set: SyntheticSet, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    options = study_options(folder / "study.yaml", tiny_bundle, synthetic_set)
    return folder / "out", run_job("study", *options, *UNTIMED)


def measurements(output: Path) -> dict[str, Measurement]:
    return {path.parent.name: read_measurement(path) for path in output.glob(f"variants/*/{MEASUREMENT}")}


def test_a_study_makes_and_measures_all_that_can_be_made(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    output, run = finished
    found = measurements(output)
    assert set(found) == {"model_as_is", "decoder=sparse", "int8"}, run.stderr
    small, whole = found["int8"], found["model_as_is"]
    assert small.sizes["whole"].stored_bytes < 0.4 * whole.sizes["whole"].stored_bytes
    assert small.sizes["decoder"].nonzeros < 0.7 * small.sizes["decoder"].parameters
    assert small.memory_mb > 0
    assert small.speed == ()
    assert small.quality[0].scores["CIDEr-D"] > 0
    assert small.steps[0]["kind"] == "hard"


def test_a_variant_that_fails_is_named_and_the_exit_code_says_so(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    output, run = finished
    assert run.returncode == 1
    assert "impossible" in run.stderr
    assert "too few where weights are zero" in json.loads((output / "failures.json").read_text())["impossible"]


def test_variants_share_the_training_that_they_have_in_common(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    output, _ = finished
    records = [json.loads(path.read_text()) for path in output.glob("steps/*/step.json")]
    assert sum(record["kind"] == "hard" for record in records) == 1


def test_a_variants_bundle_captions(
    finished: tuple[Path, subprocess.CompletedProcess[str]], synthetic_set: SyntheticSet
) -> None:
    import numpy as np
    from PIL import Image

    output, _ = finished
    folder = output / "variants" / "int8" / "bundle"
    assert open_bundle(folder).manifest.runtime == "litert"
    pixels = np.asarray(Image.open(synthetic_set.folder / "images" / "red_plain.png"))
    (caption,) = load_captioner(folder).caption(pixels[None])
    assert caption.text


def test_a_part_of_the_same_study_does_nothing_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]], synthetic_set: SyntheticSet, tiny_bundle: Path
) -> None:
    output, _ = finished
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*/*.json")}
    listed, failures = ((output / name).read_text() for name in ("study.json", "failures.json"))
    options = study_options(output.parent / "study.yaml", tiny_bundle, synthetic_set)
    run = run_job("study", *options, *UNTIMED, "--variant", "decoder=*", "--variant", "int8")
    assert "4 of them done already" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0  # the one that is impossible wasn't asked for
    assert json.loads(listed)["variants"] == ["model as is", "decoder=sparse", "int8", "impossible"]
    assert ((output / "study.json").read_text(), (output / "failures.json").read_text()) == (listed, failures)
    assert "measuring" not in run.stdout
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*/*.json")} == before


def test_another_study_in_the_same_folder_is_refused(
    finished: tuple[Path, subprocess.CompletedProcess[str]], synthetic_set: SyntheticSet, tiny_bundle: Path
) -> None:
    output, _ = finished
    other = output.parent / "other.yaml"
    other.write_text(STUDY.replace("name: tiny", "name: other"), encoding="utf-8")
    run = run_job("study", *study_options(other, tiny_bundle, synthetic_set))
    assert run.returncode == 2
    assert "holds the study 'tiny'" in run.stderr
