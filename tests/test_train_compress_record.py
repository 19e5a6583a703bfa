import json
import shutil
import subprocess
import sys
from pathlib import Path

from caption_core.bundle import MODEL_CARD, open_bundle

ROOT = Path(__file__).resolve().parents[1]


def record(bundle: Path, scores: Path) -> subprocess.CompletedProcess[str]:
    words = ["record", "--model", str(bundle), "--scores", str(scores), "--protocol", "synthetic, beam 3"]
    command = [sys.executable, str(ROOT / "jobs" / "train_compress.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_scores_reach_the_manifest_and_the_card(tiny_int8_bundle: Path, tmp_path: Path) -> None:
    bundle, scores = tmp_path / "bundle", tmp_path / "scores.json"
    shutil.copytree(tiny_int8_bundle, bundle)
    scores.write_text(json.dumps({"scores": {"CIDEr-D": {"score": 0.51237, "low": 0.4, "high": 0.6}}}))
    done = record(bundle, scores)
    assert done.returncode == 0, done.stderr
    assert open_bundle(bundle).manifest.metrics["synthetic, beam 3"] == {"CIDEr-D": 0.5124}
    assert open_bundle(bundle).model_id == open_bundle(tiny_int8_bundle).model_id
    assert "| synthetic, beam 3 | 0.512 |" in (bundle / MODEL_CARD).read_text().replace("|  |", "|")


def test_another_file_is_one_line_and_code_2(tiny_int8_bundle: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text("[]")
    done = record(tiny_int8_bundle, scores)
    assert done.returncode == 2
    assert "scores.json: not the scores of an evaluation" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
