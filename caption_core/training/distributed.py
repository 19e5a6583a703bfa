"""The training loop under Ray Train: workers, checkpoints, resume. The only module of training that imports Ray."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.collective import broadcast_from_rank_zero
from ray.train.tensorflow import TensorflowTrainer

from caption_core.errors import CapstanError
from caption_core.process_environment import worker_environment
from caption_core.training.checkpoint import BEST_WEIGHTS, read_progress
from caption_core.training.config import TrainConfig

if TYPE_CHECKING:
    from caption_core.training.checkpoint import Snapshot

# Ray Train's own `print` logs what it prints, and the log is printed, too.
_EACH_LINE_ONCE = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}

_MAX_FAILURES = 3  # a lost worker restarts the group from the last epoch's checkpoint this many times


class RayPeers:
    """The workers of this Ray Train run (see `loop.Peers`)."""

    def __init__(self) -> None:
        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.size: int = context.get_world_size()

    def agree(self, value: Any) -> Any:
        """Worker 0's value, on every worker."""
        return broadcast_from_rank_zero(value)

    def report(self, metrics: dict[str, Any], snapshot: Snapshot) -> None:
        """Report to Ray Train; worker 0 brings the checkpoint, and all wait until it is stored."""
        if self.rank != 0:
            train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            snapshot.save(Path(folder))
            train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def _train_worker(settings: dict[str, Any]) -> None:
    import tensorflow as tf

    from caption_core.training.checkpoint import Snapshot
    from caption_core.training.loop import TrainingLoop

    config: TrainConfig = settings["config"]
    threads = max(1, int(config.cpus_per_worker or 1))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.get_logger().setLevel("WARNING")  # at INFO it tells of each collective operation that it builds
    # Created before anything else of TensorFlow runs: collectives can't be set up later.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    peers = RayPeers()
    snapshot = None
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            snapshot = Snapshot.load(Path(folder))
    log = _log if peers.rank == 0 else _ignore
    TrainingLoop(config, strategy, peers, snapshot, log).run()


def _log(line: str) -> None:
    print(line, flush=True)  # Ray carries a worker's output to the driver


def _ignore(line: str) -> None:
    del line


def train_distributed(config: TrainConfig) -> tuple[Path, list[dict[str, Any]]]:
    """Train on the connected Ray cluster; goes on from the output folder's last checkpoint where there is one.

    Returns:
        The best epoch's averaged weights, a safetensors file, and the history, one entry an epoch.

    Raises:
        CapstanError: the cluster can't hold the workers, or training failed.
    """
    cpus = config.cpus_per_worker or 1.0
    trainer = TensorflowTrainer(
        _train_worker,
        train_loop_config={"config": config},
        scaling_config=ScalingConfig(num_workers=config.workers, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(  # type: ignore[call-arg]  # what type checkers see is version 1 of Ray Train
            name="checkpoints",
            storage_path=str(config.output.absolute()),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            worker_runtime_env={"env_vars": worker_environment() | _EACH_LINE_ONCE},
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        cause = str(error).strip().splitlines()[-1]
        raise CapstanError(f"training in {config.output} failed, a rerun resumes it: {cause}") from error
    if result.checkpoint is None:
        raise CapstanError(f"training in {config.output} ended without a checkpoint")
    folder = Path(result.checkpoint.path)
    return folder / BEST_WEIGHTS, read_progress(folder).history


def cpus_a_worker(config: TrainConfig, available: float) -> float:
    """CPUs that each worker gets: as asked, or an even share of those that the cluster has.

    Raises:
        CapstanError: the cluster has too few.
    """
    share = config.cpus_per_worker or max(1.0, available // config.workers)
    if share * config.workers > available:
        raise CapstanError(
            f"{config.workers} workers of {share:g} CPUs need {share * config.workers:g}, "
            f"and the cluster has {available:g}: ask for fewer workers or fewer CPUs each"
        )
    return share
