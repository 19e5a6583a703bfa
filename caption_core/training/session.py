"""A whole training run from the driver's side: check, connect, train, write the bundle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.architectures import check_encoder
from caption_core.training.ancestor import check_ancestor
from caption_core.training.concept_labels import label_concepts
from caption_core.training.config import TrainConfig
from caption_core.training.data import load_data

_IDENTITY = "run.json"


def run_training(
    config: TrainConfig, *, address: str | None, command: str, tell: Callable[[str], None] = print
) -> Bundle:
    """Train, or go on training, and write the bundle `OUTPUT/bundle`.

    Args:
        config: the run.
        address: Ray cluster to connect to; None starts a local one.
        command: the command line, for the bundle's provenance.
        tell: takes lines about the data.

    Raises:
        UsageError: data or settings can't work, or the output folder holds a run with other settings; raised before
            any cluster work.
        CapstanError: training failed.
    """
    check_encoder(config.encoder, None if config.initial else config.encoder_weights)
    check_ancestor(config)
    data = load_data(config.data, config.initial, tell)
    if config.stages[0].objective == "concepts":
        label_concepts(data)  # refuses data without any
    _claim(config)
    # Imported late: a wrong argument must not cost the seconds that Ray and TensorFlow take to import.
    from caption_core.engine.cluster import ClusterConfig, connected
    from caption_core.training.distributed import cpus_a_worker, train_distributed

    with connected(ClusterConfig(address, dashboard=True)) as cluster:
        cpus = cpus_a_worker(config, sum(cluster.node_cpus()))
        weights, history = train_distributed(replace(config, cpus_per_worker=cpus))
    from caption_core.training.baseline import write_baseline

    return write_baseline(config, data.vocabulary, weights, history, command=command)


def _claim(config: TrainConfig) -> None:
    """Bind the output folder to these settings; a folder bound to others is refused, naming what differs."""
    config.output.mkdir(parents=True, exist_ok=True)
    path = config.output / _IDENTITY
    identity = config.identity()
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(key for key in {*identity, *found} if identity.get(key) != found.get(key))
        if differing:
            raise UsageError(
                f"output {config.output} holds a run with other settings ({', '.join(differing)}): "
                "give the same settings to resume it, or another folder"
            )
        return
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(identity, indent=1), encoding="utf-8")
    os.replace(temporary, path)
