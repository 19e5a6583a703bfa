"""Which cluster is meant, and what its processes inherit."""

from __future__ import annotations

import signal
import sys

import pytest

from caption_core.engine import cluster
from caption_core.engine.cluster import (
    Cluster,
    ClusterConfig,
    ClusterKind,
    _init_arguments,
    connected,
    prepare_local_environment,
)
from caption_core.engine.interruption import Interrupted
from caption_core.engine.pool_size import ActorClaim
from caption_core.errors import UsageError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_word_it_is_a_ray_of_its_own() -> None:
    assert ClusterConfig().kind is ClusterKind.LOCAL
    assert ClusterConfig(cpus=2).resolved_address is None


def test_an_address_may_be_an_argument_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClusterConfig("auto").kind is ClusterKind.EXISTING
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ClusterConfig().kind is ClusterKind.EXISTING
    assert ClusterConfig().resolved_address == "10.0.0.1:6379"
    assert ClusterConfig("10.0.0.2:6379").resolved_address == "10.0.0.2:6379"


def test_a_submitted_job_uses_the_cluster_it_was_submitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert ClusterConfig().kind is ClusterKind.SUBMITTED


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_an_address_of_another_kind_points_to_job_submission(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="ray job submit"):
        ClusterConfig(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match="ray job submit"):
        ClusterConfig()


def test_the_size_of_somebody_elses_cluster_is_not_ours_to_set() -> None:
    with pytest.raises(UsageError, match="--cpus"):
        ClusterConfig("auto", cpus=2)


@pytest.mark.parametrize("cpus", [0, -1])
def test_a_local_ray_needs_a_cpu(cpus: int) -> None:
    with pytest.raises(UsageError, match="--cpus"):
        ClusterConfig(cpus=cpus)


def test_a_local_ray_gets_a_token_of_its_own_and_finds_the_package() -> None:
    environments: list[dict[str, str]] = [{}, {"PYTHONPATH": "/theirs"}]
    for environment in environments:
        prepare_local_environment(environment)
    assert environments[1]["PYTHONPATH"].endswith(":/theirs")
    assert len(environments[0]["RAY_AUTH_TOKEN"]) >= 32
    assert environments[0]["RAY_AUTH_TOKEN"] != environments[1]["RAY_AUTH_TOKEN"]


def test_preparing_twice_changes_nothing_more() -> None:
    environment: dict[str, str] = {}
    prepare_local_environment(environment)
    before = dict(environment)
    prepare_local_environment(environment)
    assert environment == before


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_the_users_authentication_is_left_alone(name: str) -> None:
    environment = {name: "theirs"}
    prepare_local_environment(environment)
    assert {key: value for key, value in environment.items() if key != "PYTHONPATH"} == {name: "theirs"}


def test_an_interpreter_whose_path_needs_quotes_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "runtime_env" not in _init_arguments(ClusterConfig())
    monkeypatch.setattr("sys.executable", "/home/a user/.venv/bin/python")
    assert _init_arguments(ClusterConfig())["runtime_env"] == {"py_executable": "'/home/a user/.venv/bin/python'"}


def test_machines_are_told_without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"CPU": 4.0, "memory": 11e9, "node:10.0.0.1": 1.0, "object_store_memory": 4e9}
    large = {"CPU": 16.0, "GPU": 2.0, "memory": 90e9, "accelerator_type:H100": 1.0}
    nodes = [
        {"Alive": True, "Resources": small},
        {"Alive": True, "Resources": large},
        {"Alive": False, "Resources": large},
        {"Alive": True, "Resources": {**small, "node:10.0.0.2": 1.0}},
    ]
    monkeypatch.setattr("caption_core.engine.cluster.ray.nodes", lambda: nodes)
    assert cluster.Cluster(ClusterConfig("10.0.0.1:6379")).machines() == [
        "2 x 4 CPUs, 11 GB for workers",
        "1 x 16 CPUs, 90 GB for workers, 2 GPUs H100",
    ]


def test_who_stops_waiting_for_machines_asks_for_none_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(Cluster, "_fitting", lambda *_: 0)
    monkeypatch.setattr("caption_core.engine.cluster.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Cluster(ClusterConfig("auto")).wait_for_actors(2, ActorClaim(3), 60, lambda _: None)
    assert asked == [ActorClaim(3).bundles * 2, []]


def test_a_signal_while_ray_starts_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(Interrupted) as raised, connected(ClusterConfig(cpus=1)):
        pass
    assert raised.value.exit_code == 143
