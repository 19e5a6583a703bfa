"""A real Ray head of the test's own, as an operator starts it: with token authentication, and on free ports."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_RAY = Path(sys.executable).with_name("ray")
_START_S = 120


@dataclass(frozen=True)
class RayHead:
    """A running head.

    Attributes:
        address: host:port of the cluster.
        job_server: URL that jobs are submitted to.
        token: what it asks for.
        metrics: URL that Prometheus would scrape.
    """

    address: str
    job_server: str
    token: str
    metrics: str = ""

    def environment(self, **changes: str) -> dict[str, str]:
        """Environment variables of a user who may use the cluster."""
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return clean_environment() | own | changes

    def submit(self, root: Path, *entrypoint: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job submit --working-dir ROOT -- ENTRYPOINT`, and wait for its end."""
        command = [
            str(_RAY),
            "job",
            "submit",
            "--address",
            self.job_server,
            "--working-dir",
            str(root),
            "--",
            *entrypoint,
        ]
        return subprocess.run(
            command, cwd=root, env=self.environment(**changes), text=True, capture_output=True, timeout=300
        )


def clean_environment() -> dict[str, str]:
    """This process' environment without what points to a Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def kill_session(leader: int) -> None:
    """Kill the processes of a session that was started for a Ray of our own."""
    while alive := processes_of(leader):
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def processes_of(session_leader: int) -> list[int]:
    """Live processes of a session: of a run, Ray's included."""
    stats = [entry / "stat" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [int(stat.parent.name) for stat in stats if _is_alive_in(stat, session_leader)]


def _is_alive_in(stat: Path, session_leader: int) -> bool:
    try:
        state, _parent, _group, session, *_ = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(session) == session_leader and state != "Z"


@contextmanager
def running_head(cpus: int) -> Iterator[RayHead]:
    """Start a head, and stop it by its own process, so that no other Ray on this machine is touched."""
    port, dashboard, agent, client, metrics = _free_ports(5)
    token, urls = secrets.token_hex(32), [f"http://127.0.0.1:{number}" for number in (dashboard, metrics)]
    head = RayHead(f"127.0.0.1:{port}", urls[0], token, f"{urls[1]}/metrics")
    # Short: the paths of Ray's sockets may hold 107 bytes.
    folder = tempfile.mkdtemp(prefix="rt-")
    options = {
        "--node-ip-address": "127.0.0.1",
        "--port": port,
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": agent,
        "--ray-client-server-port": client,
        "--metrics-export-port": metrics,
        "--num-cpus": cpus,
        "--temp-dir": folder,
    }
    arguments = [f"{name}={value}" for name, value in options.items()]
    with (Path(folder) / "start.log").open("wb") as log:
        process = subprocess.Popen(
            [_RAY, "start", "--head", "--block", "--disable-usage-stats", *arguments],
            # Ray's own interval is longer than a test.
            env=head.environment(RAY_metrics_report_interval_ms="500"),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_jobs_are_taken(process, agent, Path(folder) / "start.log")
        yield head
    finally:
        kill_session(process.pid)  # at once; `ray start --block` takes half a minute to stop by itself
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _wait_until_jobs_are_taken(process: subprocess.Popen[bytes], agent_port: int, log: Path) -> None:
    """Jobs are started by the agent, the last part of a head to come up."""
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and process.poll() is None:
        if _listens(agent_port):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the Ray head did not start:\n{log.read_text()}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
