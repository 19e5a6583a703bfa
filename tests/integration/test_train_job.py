"""The training job as a user runs it: a real local Ray, Ray Train workers, a kill and a resume."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from caption_core.process_environment import worker_environment
from caption_core.training.config import OptimizationConfig, StageConfig
from jobs.command_line import run_command
from jobs.train_compress import main
from tests.bundle_builders import SoloPeers, SyntheticSet, paint, tiny_config, write_encoder_weights
from tests.integration.ray_head import clean_environment, processes_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def command(data: SyntheticSet, output: Path, *options: str) -> list[str]:
    arguments = {
        "--images": data.folder / "images",
        "--captions": data.folder / "captions.token.txt",
        "--train-split": data.folder / "train.txt",
        "--dev-split": data.folder / "train.txt",
        "--encoder-weights": write_encoder_weights(data),
        "--output": output,
        "--cache": data.folder / "cache",
        "--min-word-count": 1,
        "--max-tokens": 8,
        "--units": 32,
        "--embedding-units": 16,
        "--value-units": 32,
        "--attention-units": 16,
        "--learning-rate": 0.01,
        "--batch-images": 4,
        "--name": "tiny",
        "--views": 1,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    return [sys.executable, str(ROOT / "jobs" / "train_compress.py"), "train", *words, *options]


def history(output: Path) -> list[dict[str, float]]:
    checkpoints = sorted((output / "checkpoints").glob("checkpoint_*/progress.json"))
    entries: list[dict[str, float]] = json.loads(checkpoints[-1].read_text())["history"]
    return entries


def wait_for_epoch(epoch: int, output: Path, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert driver.poll() is None, "the run ended before it could be killed"
        try:
            if len(history(output)) >= epoch:
                return
        except (IndexError, FileNotFoundError):  # none yet, or just replaced by a later one
            pass
        time.sleep(0.2)
    pytest.fail(f"epoch {epoch} was not reached")


def training_workers_of(driver: subprocess.Popen[bytes]) -> list[int]:
    processes = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(driver.pid)}
    return [pid for pid, command_line in processes.items() if b"RayTrainWorker" in command_line]


def assert_set_up(process: int) -> None:
    """TensorFlow reads its settings when it is first imported, glibc its own before the first line."""
    environment = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    assert {f"{name}={value}" for name, value in worker_environment().items()} <= set(environment)


def start(words: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, env=clean_environment(), stdout=quiet, stderr=quiet, start_new_session=True)


def finish(words: list[str]) -> str:
    done = subprocess.run(words, env=clean_environment(), capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def cache_of(output: Path) -> Path:
    """A run's own: no test before has computed the features that one of two workers computes and both wait for."""
    return output.parent / "cache"


RUN = ("--epochs", "6", "--dropout", "0", "0", "0", "--cpus-per-worker", "1")


@pytest.fixture(scope="module")
def killed_and_resumed(
    synthetic_set: SyntheticSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float]]:
    """A run on two workers that was killed, and finished by one; and its first epoch as it was then."""
    output = tmp_path_factory.mktemp("resumed") / "run"
    run = (*RUN, "--cache", str(cache_of(output)))
    driver = start(command(synthetic_set, output, *run, "--workers", "2"))
    wait_for_epoch(2, output, driver)  # by then Ray has taken note of the first one's checkpoint, too
    workers = training_workers_of(driver)
    assert len(workers) == 2
    for worker in workers:
        assert_set_up(worker)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (output / "bundle").exists()
    first, *more = history(output)
    assert len(more) < 5, "one worker has some epochs to train, too"
    told = finish(command(synthetic_set, output, *run, "--workers", "1"))
    epochs = re.findall(r"stage=0 epoch=(\d)", told)
    assert epochs == sorted(set(epochs)) != [], "Ray Train prints what is printed twice, if one lets it"
    return output, first


@pytest.fixture(scope="module")
def resumed(killed_and_resumed: tuple[Path, dict[str, float]]) -> Path:
    return killed_and_resumed[0]


def test_a_killed_run_goes_on(killed_and_resumed: tuple[Path, dict[str, float]]) -> None:
    resumed, first = killed_and_resumed
    assert [entry["epoch"] for entry in history(resumed)] == list(range(1, 7))
    assert history(resumed)[0] == first, "with its times, so that it was not trained again"
    assert open_bundle(resumed / "bundle").manifest.name == "tiny"
    captioner = load_captioner(resumed / "bundle")
    assert captioner.caption(paint("red", "plain wall")[None])[0].num_tokens > 0


def test_two_workers_and_one_train_as_a_loop_without_ray_does(
    resumed: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    import tensorflow as tf

    from caption_core.training.loop import TrainingLoop

    stage = StageConfig(epochs=6, learning_rate=0.01)
    config = tiny_config(
        synthetic_set, tmp_path / "alone", stages=(stage,), optimization=OptimizationConfig(batch_images=4)
    )
    config = replace(config, data=replace(config.data, cache=cache_of(resumed)))
    assert config.identity() == json.loads((resumed / "run.json").read_text())
    alone = SoloPeers()
    TrainingLoop(config, tf.distribute.get_strategy(), alone, log=lambda _: None).run()
    losses = [entry["loss"] for entry in history(resumed)]
    assert losses == pytest.approx([entry["loss"] for entry in alone.snapshots[-1].progress.history], abs=2e-3)


def test_a_finished_run_takes_no_other_settings(
    resumed: Path, synthetic_set: SyntheticSet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = command(synthetic_set, resumed, *RUN, "--workers", "1", "--seed", "7", "--cache", str(cache_of(resumed)))
    capfd.readouterr()
    monkeypatch.setattr(sys, "argv", words[1:])
    assert run_command(main) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "other settings (optimization)" in line


@pytest.mark.skipif("CAPSTAN_FAULT_RUNS" not in os.environ, reason="takes minutes; CAPSTAN_FAULT_RUNS=1 runs it")
def test_another_worker_goes_on_for_a_killed_one(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = command(synthetic_set, output, "--epochs", "10", "--workers", "1")
    driver = start(words)
    wait_for_epoch(1, output, driver)
    (worker,) = training_workers_of(driver)
    os.kill(worker, signal.SIGKILL)
    assert driver.wait(300) == 0
    assert [entry["epoch"] for entry in history(output)] == list(range(1, 11))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "0"), "epochs must be at least 1"),
        (("--captions", "gone.txt"), "gone.txt"),
        (("--encoder-weights", "gone.h5"), "gone.h5: no such file"),
        (("--train-split", "tests"), "split tests: no such file, and"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(
    synthetic_set: SyntheticSet,
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = command(synthetic_set, tmp_path / "run", *options)
    capfd.readouterr()  # what Keras says when it is first loaded
    monkeypatch.setattr(sys, "argv", words[1:])
    assert run_command(main) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()
