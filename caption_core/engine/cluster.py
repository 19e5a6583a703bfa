"""The Ray cluster that a run works on: one of its own, an existing one, or the one that its job was submitted to."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

import caption_core
from caption_core.engine.interruption import Interrupted
from caption_core.engine.pool_size import ANY_CLAIM, ActorClaim, count_fitting
from caption_core.errors import CapstanError, UsageError

# Ray's job server sets it for the entry point of a submitted job (ray._private.runtime_env.constants).
_SUBMITTED_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_ACCELERATOR = "accelerator_type:"  # begins the name of a resource that tells a machine's kind of GPU
_PACKAGE = Path(caption_core.__file__).resolve().parent

_CONNECT_TIMEOUT_S = 10.0
_POLL_S = 1.0
_NOTE_EVERY_S = 30.0


class ClusterKind(Enum):
    """Whose cluster it is."""

    LOCAL = "a local Ray"
    EXISTING = "an existing Ray cluster"
    SUBMITTED = "the Ray cluster that the job was submitted to"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where to run.

    Attributes:
        address: of an existing cluster (host:port, or 'auto' for the one on this machine); None for a local Ray, or,
            in a submitted job or with RAY_ADDRESS set, the cluster meant by those.
        cpus: CPUs that a local Ray offers; None for all of the machine.
        wait_s: how long a joined cluster may take to grow until the smallest pool fits. The default covers a cloud's
            machine that boots and installs what it needs.
        dashboard: whether a local Ray starts its dashboard, which Ray Train asks for the state of its actors.
        packages: folders of packages beside this one that workers import, sent to a cluster that is joined.
        variables: environment variables that workers need before they import anything.
    """

    address: str | None = None
    cpus: int | None = None
    wait_s: float = 600.0
    dashboard: bool = False
    packages: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cpus is not None and self.kind is not ClusterKind.LOCAL:
            raise UsageError(f"--cpus sizes a local Ray; this run works on {self.kind.value}")
        if self.cpus is not None and self.cpus < 1:
            raise UsageError(f"--cpus must be at least 1, not {self.cpus}")
        if "://" in (self.resolved_address or ""):
            raise UsageError(
                f"{self.resolved_address}: not the address of a cluster to join (host:port or auto); "
                "to run there, submit the job: ray job submit --working-dir . -- python jobs/caption_batch.py …"
            )

    @property
    def kind(self) -> ClusterKind:
        """Whose cluster will be used."""
        if is_submitted_job():
            return ClusterKind.SUBMITTED
        return ClusterKind.EXISTING if self.resolved_address else ClusterKind.LOCAL

    @property
    def resolved_address(self) -> str | None:
        """The address to join, from the argument or the environment."""
        return self.address or os.environ.get("RAY_ADDRESS") or None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        config: how it was asked for.
    """

    config: ClusterConfig

    @property
    def kind(self) -> ClusterKind:
        """Whose it is."""
        return self.config.kind

    @property
    def worker_options(self) -> dict[str, Any]:
        """Options of actors and tasks, with which they see the configured variables.

        Those of a local Ray inherit them: an environment of their own would keep them out of the processes that Ray has
        started by then.
        """
        if self.kind is ClusterKind.LOCAL or not self.config.variables:
            return {}
        return {"runtime_env": {"env_vars": dict(self.config.variables)}}

    @property
    def can_grow(self) -> bool:
        """Whether machines may join while the run lasts."""
        return self.kind is not ClusterKind.LOCAL

    def node_cpus(self, claim: ActorClaim = ANY_CLAIM) -> tuple[float, ...]:
        """CPUs of each of its machines at this moment, of those that such actors can use."""
        return tuple(claim.cpus_of(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def machines(self) -> list[str]:
        """Its machines at this moment in words, those alike together: without names and addresses."""
        alike = Counter(_resources_in_words(node["Resources"]) for node in ray.nodes() if node["Alive"])
        return [f"{number} x {resources}" for resources, number in alike.items()]

    def _fitting(self, claim: ActorClaim) -> int:
        """Actors for which there is room, and for those who decode for them."""
        fitting = count_fitting(self.node_cpus(claim), claim.cpus)
        return min(fitting, claim.count_with_decoders(sum(self.node_cpus())))

    def free_cpus(self) -> float:
        """CPUs that nobody claims at this moment."""
        return float(ray.available_resources().get("CPU", 0))

    def wait_for_actors(self, number: int, claim: ActorClaim, wait_s: float, note: Callable[[str], None]) -> None:
        """Ask the cluster to grow until a number of actors fit, and wait for it, up to a limit.

        A cluster may have been scaled down to no CPUs at all. One that doesn't grow is waited for in vain: it can't be
        told apart from one whose machines take minutes to start.
        """
        if not self.can_grow or self._fitting(claim) >= number:
            return
        request_resources(bundles=claim.bundles * number)
        try:
            self._wait_until_fitting(number, claim, wait_s, note)
        finally:
            # From now on the actors themselves keep the machines; and who stops waiting wants none.
            request_resources(bundles=[])

    def _wait_until_fitting(self, number: int, claim: ActorClaim, wait_s: float, note: Callable[[str], None]) -> None:
        end_s = time.monotonic() + wait_s
        next_note_s = 0.0
        while (fitting := self._fitting(claim)) < number and time.monotonic() < end_s:
            if time.monotonic() >= next_note_s:
                note(f"{fitting} of {number} actors fit on the cluster; waiting up to {wait_s:.0f} s for it to grow")
                next_note_s = time.monotonic() + _NOTE_EVERY_S
            time.sleep(_POLL_S)


def _resources_in_words(resources: Mapping[str, float]) -> str:
    gpus, kinds = resources.get("GPU", 0), [name for name in resources if name.startswith(_ACCELERATOR)]
    words = [f"{resources.get('CPU', 0):g} CPUs", f"{resources.get('memory', 0) / 1e9:.0f} GB for workers"]
    if gpus:
        words.append(f"{gpus:g} GPUs{''.join(f' {kind.removeprefix(_ACCELERATOR)}' for kind in kinds)}")
    return ", ".join(words)


def is_submitted_job() -> bool:
    """Whether this process is the entry point of a job that came through `ray job submit`."""
    return _SUBMITTED_JOB_VARIABLE in os.environ


@contextmanager
def connected(config: ClusterConfig) -> Iterator[Cluster]:
    """Start or join the cluster; at the end stop what was started and leave what was joined.

    Raises:
        CapstanError: no cluster answers, or it refuses.
        Interrupted: SIGTERM came meanwhile.
    """
    where = config.resolved_address or "here"
    before = signal.getsignal(signal.SIGTERM)
    try:
        _check_answers(config)
        with _inherited(config):
            ray.init(**_init_arguments(config))
    except SystemExit as end:
        if end.code != signal.SIGTERM:
            raise
        raise Interrupted(signal.SIGTERM) from end  # Ray starts by setting a handler, which ends the process so
    except Exception as error:  # Ray raises bare ones too, for example when a busy machine starts it too slowly
        raise CapstanError(f"can't use {config.kind.value} ({where}): {_cause(error)}") from error
    rays = signal.getsignal(signal.SIGTERM)
    try:
        yield Cluster(config)
    finally:
        ray.shutdown()
        # Ray leaves a handler behind that ends the process without a word. One that has come since then stays.
        if rays is not before and signal.getsignal(signal.SIGTERM) is rays:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _inherited(config: ClusterConfig) -> Iterator[None]:
    """While a local Ray starts, its workers' variables are this process's own."""
    before = dict(os.environ)
    if config.kind is ClusterKind.LOCAL:
        prepare_local_environment(os.environ)
        os.environ.update(config.variables)
    try:
        yield
    finally:
        for name in config.variables:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def _check_answers(config: ClusterConfig) -> None:
    """Fail at once where nothing listens; Ray itself would try for twenty minutes."""
    host, colon, port = (config.resolved_address or "").rpartition(":")
    if config.kind is ClusterKind.EXISTING and colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    if "InvalidAuthToken" in str(error) or "Failed to connect" in first:
        # Ray reports a refused token only in native code's messages.
        return f"{first}; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return rest[-1] if rest else first


def _init_arguments(config: ClusterConfig) -> dict[str, Any]:
    quiet: dict[str, Any] = {"logging_level": "WARNING"}
    match config.kind:
        case ClusterKind.LOCAL:
            # It warns of what is as it should be: that this Ray asks for a token.
            logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
            local = {"address": "local", "num_cpus": config.cpus, "include_dashboard": config.dashboard}
            return quiet | local | _quoted_interpreter()
        case ClusterKind.EXISTING:
            # The cluster's machines may not have this package, or another version of it. The bundles in it stay here:
            # each run sends the one it uses.
            modules = [str(package) for package in (_PACKAGE, *config.packages)]
            environment = {"py_modules": modules, "excludes": ["/assets/"]}
            return quiet | {"address": config.resolved_address, "runtime_env": environment}
        case ClusterKind.SUBMITTED:
            # The job's own runtime environment holds the working directory, from which workers import.
            return quiet | {"address": config.resolved_address}


def _quoted_interpreter() -> dict[str, Any]:
    """Ray puts the interpreter's path into a shell command as it is: with a space in it no worker would start."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"runtime_env": {"py_executable": quoted}}


def prepare_local_environment(environment: MutableMapping[str, str]) -> None:
    """Set what the processes of a local Ray inherit: where to import from, and a token of their own.

    Without a token or a mode Ray would make one and leave it in the home folder.
    """
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    if str(_PACKAGE.parent) not in paths:
        environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGE.parent), *filter(None, paths)])
    if not environment.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        # The mode is left to Ray, which asks for tokens by default and overlooks a mode that is set after its import.
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
