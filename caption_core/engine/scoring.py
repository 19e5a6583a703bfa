"""Evaluating captions with Ray Data: the steps of `metrics.shard_scoring`, one bucket a row."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import ray
import ray.data

from caption_core.engine.cluster import ClusterConfig, connected
from caption_core.engine.console import quiet_ray_data
from caption_core.errors import CapstanError
from caption_core.metrics.evaluation import EvaluateConfig, EvaluateInputs, Evaluation, run_evaluate
from caption_core.metrics.scores import MetricError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CAPTIONS_WORTH_RAY = 50_000  # below, this process is done before a cluster has started


@dataclass(frozen=True, slots=True)
class RayRunner:
    """Runs steps as rows of a Ray Data dataset, one CPU each.

    Args:
        everywhere: whether all nodes see the folders that steps read and write; otherwise they stay on this node.
    """

    everywhere: bool = False

    def __call__(self, step: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
        """The results, as they come."""
        quiet_ray_data()
        rows = ray.data.from_items([{"item": item} for item in items], override_num_blocks=max(1, len(items)))
        results = rows.map(partial(_run_row, step), num_cpus=1, label_selector=self._nodes())
        for row in results.iter_rows():
            if row["failure"]:
                raise MetricError(f"scoring stopped: {row['failure']}")
            yield pickle.loads(row["result"])  # from `_run_row`, on this cluster

    def _nodes(self) -> dict[str, str] | None:
        return None if self.everywhere else {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


def _run_row(step: Callable[[Item], object], row: dict[str, Any]) -> dict[str, Any]:
    """Errors that a user can act on come back as rows: raised, they would reach the driver as text among Ray's own."""
    try:
        return {"result": pickle.dumps(step(row["item"])), "failure": ""}
    except (CapstanError, OSError) as error:
        return {"result": b"", "failure": str(error)}


def evaluate_captions(
    config: EvaluateConfig, cluster: ClusterConfig, use_ray: bool | None, tell: Callable[[str], None]
) -> Evaluation:
    """Evaluate in this process or on Ray; results are the same to the last bit.

    Args:
        config: what to evaluate. On several machines its work folder, where there is one, must be seen by all.
        cluster: where to run.
        use_ray: None decides by the number of captions.
        tell: gets a line a stage.
    """
    inputs = EvaluateInputs.open(config)
    if use_ray is None:
        use_ray = cluster.address is not None or inputs.captions[0].num_rows() >= _CAPTIONS_WORTH_RAY
    if not use_ray:
        return run_evaluate(config, tell=tell, inputs=inputs)
    with connected(cluster):
        return run_evaluate(config, RayRunner(everywhere=config.work_folder is not None), tell, inputs)
