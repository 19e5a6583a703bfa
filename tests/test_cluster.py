"""cluster.yaml against Ray's own schema, and against this project's files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_would_refuse_a_misspelt_field(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        validate_config(prepare_config({**copy.deepcopy(cluster), "idle_timeout_minuets": 5}))


def test_the_head_takes_no_work(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in cluster["head_start_ray_commands"][-1]


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_asks_for_the_token(cluster: dict[str, Any], commands: str) -> None:
    start = cluster[commands][-1]
    assert start.index("export RAY_AUTH_MODE=token") < start.index("ray start")
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_nodes_get_what_they_install_from(cluster: dict[str, Any]) -> None:
    own = {remote: local for remote, local in cluster["file_mounts"].items() if remote.startswith("~/capstan/")}
    assert all((ROOT / local).exists() for local in own.values())
    assert {Path(local).name for local in own.values()} >= {"pyproject.toml", "constraints.txt", "caption_core"}
    (install,) = (command for command in cluster["setup_commands"] if "pip install" in command)
    assert "-c constraints.txt" in install
    assert "[" not in install, "no extra: captioning needs no TensorFlow"
