"""A study's steps and measurements as Ray tasks. The only module of compression that imports Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

import compression
from caption_core.bundle import Bundle, open_bundle
from caption_core.engine.cluster import ClusterConfig, connected
from caption_core.errors import CapstanError
from caption_core.process_environment import bounded_environment
from compression.leftovers import remove_states
from compression.measurement import ScoredContent
from compression.study_run import (
    Plan,
    StudyConfig,
    StudyOutcome,
    Tell,
    finish_variant,
    found_measurement,
    is_measured,
    is_taken,
)
from compression.variants import StepNode, Variant

_MAX_RETRIES = 2  # of a task whose process or machine was lost; a step that raises is not tried again


def make_variants(config: StudyConfig, plan: Plan, *, address: str | None, tell: Tell) -> StudyOutcome:
    """Take all steps and measure all variants on a cluster.

    Each step is a task that waits for its parent's, so variants share what they have in common and independent ones run
    side by side.

    Raises:
        CapstanError: the cluster can't be used.
    """
    packages = (Path(compression.__file__).resolve().parent,)
    with connected(ClusterConfig(address, packages=packages)) as cluster:
        if max(cluster.node_cpus(), default=0.0) < config.cpus_per_task:
            raise CapstanError(f"no machine of the cluster has the {config.cpus_per_task} CPUs that a task asks for")
        steps = _submit_steps(config, plan, tell)
        measured = {
            variant.name: _submit_measurement(config, plan, variant, steps) for variant in config.study.variants
        }
        return _collect(config, measured, tell)


def _submit_steps(config: StudyConfig, plan: Plan, tell: Tell) -> dict[str, ray.ObjectRef[str] | None]:
    """A task for each step that is not done yet; None for one that is."""
    tasks: dict[str, ray.ObjectRef[str] | None] = {}
    names = ray.put(plan.train_names)
    for node in plan.nodes:
        if is_taken(config, node):
            remove_states(config.step_folder(node.key))  # what a process left that was lost at the very end
            tasks[node.key] = None
            continue
        before = [tasks[key] if key else None for key in (node.parent, node.known)]
        tasks[node.key] = _remote(take_step, config).remote(config, node, names, *before)
    done = sum(task is None for task in tasks.values())
    tell(f"{len(plan.chains)} variants of {len(plan.nodes)} steps, {done} of them done already")
    return tasks


def _submit_measurement(
    config: StudyConfig, plan: Plan, variant: Variant, steps: Mapping[str, ray.ObjectRef[str] | None]
) -> ray.ObjectRef[str]:
    nodes = plan.chains[variant.name]
    before = steps[nodes[-1].key] if nodes else None
    return _remote(_measure, config).remote(config, variant, nodes, plan.scored, before)


def _remote(function: Any, config: StudyConfig) -> Any:
    """A process of its own for each task: TensorFlow gives memory back only by ending."""
    environment = {"env_vars": bounded_environment(config.cpus_per_task)}
    return ray.remote(num_cpus=config.cpus_per_task, max_calls=1, max_retries=_MAX_RETRIES, runtime_env=environment)(
        function
    )


def take_step(config: StudyConfig, node: StepNode, train_names: tuple[str, ...], *_: str | None) -> str:
    """Take a step in this process; Ray waits for what else it is given. Returns the step's folder."""
    from compression.context import StepContext
    from compression.step_registry import apply_step

    folder = config.step_folder(node.key)
    model = open_bundle(config.models[node.model])

    def made(key: str | None) -> Bundle:
        return open_bundle(config.step_folder(key) / "bundle") if key else model

    label = f"{node.model} {node.key[:6]} {node.step.kind}"
    context = StepContext(
        parent=made(node.parent),
        teacher=model,
        known=made(node.known),
        folder=folder,
        images=config.data.images,
        train_names=train_names,
        data=config.data.captions,
        seed=node.seed,
        cache=config.data.cache,
        log=lambda line: print(f"{label}: {line}", flush=True),  # Ray carries a worker's output to the driver
    )
    apply_step(node.step, context)
    return str(folder)


def _measure(
    config: StudyConfig, variant: Variant, nodes: list[StepNode], content: ScoredContent | None, _: str | None
) -> str:
    from compression.variant_measurement import measure_variant

    last = config.step_folder(nodes[-1].key) / "bundle" if nodes else config.models[variant.model]
    bundle = finish_variant(config, variant, open_bundle(last))
    found = found_measurement(bundle)
    if found is None or not is_measured(config, variant, content, found):
        measure_variant(config, variant, nodes, bundle, content, found)
    return str(bundle.folder)


def _collect(config: StudyConfig, measured: Mapping[str, ray.ObjectRef[str]], tell: Tell) -> StudyOutcome:
    """Wait for the variants as they finish."""
    names = {task: name for name, task in measured.items()}
    waiting = list(names)
    made: dict[str, Path] = {}
    failed: dict[str, str] = {}
    while waiting:
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        name = names[ready]
        try:
            made[name] = Path(ray.get(ready))
            tell(f"{len(made) + len(failed)} of {len(names)}: {name}")
        except RayError as error:
            failed[name] = _cause(error)
            tell(f"{len(made) + len(failed)} of {len(names)}: {name} failed: {failed[name]}")
    ordered = {variant.name: made[variant.name] for variant in config.study.variants if variant.name in made}
    return StudyOutcome(ordered, failed)


def _cause(error: RayError) -> str:
    """A task's own error in one line; a step's error reaches its variants through the tasks that waited for it."""
    cause: BaseException = error
    while isinstance(cause, RayTaskError) and cause.cause is not None:
        cause = cause.cause
    if isinstance(cause, CapstanError):
        return str(cause)
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
