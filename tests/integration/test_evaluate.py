"""The evaluation as a user runs it: the job's command line, and a real local Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from caption_core.engine.cluster import prepare_local_environment
from caption_core.engine.scoring import RayRunner
from caption_core.metrics import buckets
from caption_core.metrics.bootstrap import BootstrapSettings
from caption_core.metrics.evaluation import EvaluateConfig, run_evaluate
from caption_core.metrics.scores import MetricError, corpus_scores
from jobs.command_line import run_command
from jobs.train_compress import main
from tests.integration.ray_head import clean_environment
from tests.metrics.corpus_builders import random_corpus, write_run, write_tokens

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS, REFERENCES = random_corpus(90)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    """Options that name captions and references."""
    captions = write_run(tmp_path / "run", CAPTIONS)
    return ["--captions", str(captions), "--references", str(write_tokens(tmp_path / "tokens.txt", REFERENCES))]


def evaluate(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "train_compress.py"), "evaluate", *options]
    environment = clean_environment()
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)


def error_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    return lines[0]


def test_the_job_prints_a_table_and_writes_both_files(corpus: list[str], tmp_path: Path) -> None:
    done = evaluate(*corpus, "--output", str(tmp_path / "out"), "--no-meteor-spice")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    assert {name: score["score"] for name, score in scores.items()} == corpus_scores(CAPTIONS, REFERENCES).as_dict()
    assert f"{scores['CIDEr-D']['score']:.4f}" in done.stdout
    assert pq.read_table(tmp_path / "out" / "images.parquet").num_rows == 90
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.parquet", "scores.json"]


def test_the_job_on_ray_writes_the_same(corpus: list[str], tmp_path: Path) -> None:
    for name, options in (("here", ["--no-ray"]), ("ray", ["--ray", "--cpus", "1"])):
        done = evaluate(*corpus, "--output", str(tmp_path / name), "--no-meteor-spice", *options)
        assert done.returncode == 0, done.stderr
    for file in ("scores.json", "images.parquet"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "ray" / file).read_bytes()


def test_a_wrong_argument_ends_the_process_with_one_line_and_code_2() -> None:
    assert "Missing option '--captions'" in error_line(evaluate(), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--captions", "absent.json", "--references", "absent.txt"], "absent.json"),
        (["--captions", "absent.json", "--references", "absent.txt", "--ray"], "absent.json"),
        (["--captions", "x", "--references", "y", "--confidence", "2"], "confidence must lie between"),
        (["--captions", "x", "--references", "y", "--missing", "perhaps"], "'perhaps' is not one of"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_compress.py", "evaluate", *options])
    assert run_command(main) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error:")
    assert message in line


def test_captions_that_do_not_match_are_one_line_and_code_1(corpus: list[str], tmp_path: Path) -> None:
    partial = write_run(tmp_path / "partial", dict(list(CAPTIONS.items())[:50]))
    done = evaluate("--captions", str(partial), *corpus[2:], "--output", str(tmp_path / "out"), "--no-meteor-spice")
    assert "40 images without a caption" in error_line(done, 1)
    assert not (tmp_path / "out").exists()


def test_two_captioners(corpus: list[str], tmp_path: Path) -> None:
    baseline = write_run(tmp_path / "baseline", dict.fromkeys(CAPTIONS, "a dog on the grass"))
    done = evaluate(*corpus, "--baseline", str(baseline), "--no-meteor-spice", "--study-2012-09708")
    assert done.returncode == 0, done.stderr
    assert "points of 1/100, on the same images" in done.stdout
    assert "arXiv 2012.09708 BLEU-1" in done.stdout


# --- on Ray, in this process ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and a worker node, two CPUs in all, of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        environment = dict(os.environ)
        prepare_local_environment(environment)
        patch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        found.add_node(num_cpus=1)
        found.connect()
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.mark.usefixtures("cluster")
def test_many_buckets_on_ray_equal_one_process_to_the_last_bit(
    corpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_IMAGES", 20)
    config = EvaluateConfig(corpus[1], corpus[3], bootstrap=BootstrapSettings(200), optional_metrics=False)
    here, there = run_evaluate(config), run_evaluate(config, RayRunner())
    assert there.result.scores == here.result.scores
    assert there.result.captions.as_dict() == here.result.captions.as_dict()
    assert there.result.coverage == here.result.coverage
    values = {name: score.value for name, score in there.result.scores.scores.items()}
    assert values == corpus_scores(CAPTIONS, REFERENCES).as_dict()


def _node_of(_item: int) -> str:
    return str(ray.get_runtime_context().get_node_id())


@pytest.mark.usefixtures("cluster")
def test_steps_stay_where_their_files_are_unless_all_nodes_see_them() -> None:
    here = ray.get_runtime_context().get_node_id()
    assert set(RayRunner()(_node_of, range(8))) == {here}


def _fail(item: int) -> int:
    raise OSError(28, "No space left on device", f"bucket {item}")


@pytest.mark.usefixtures("cluster")
def test_a_step_that_fails_is_one_line() -> None:
    with pytest.raises(MetricError, match=r"scoring stopped: .*No space left on device: 'bucket 1'"):
        list(RayRunner()(_fail, [1]))
