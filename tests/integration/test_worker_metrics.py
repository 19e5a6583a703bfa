"""A run's figures as Prometheus would scrape them while it works."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.builders import write_file, write_images
from tests.integration.ray_head import RayHead, running_head

ROOT = Path(__file__).resolve().parents[2]
_SAMPLE = re.compile(r"^ray_(capstan_\w+?)(?:_total)?\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def scraped(head: RayHead) -> dict[str, float]:
    """Sums over all workers, by metric and its own tag."""
    request = urllib.request.Request(head.metrics, headers={"Authorization": f"Bearer {head.token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    sums: dict[str, float] = {}
    for name, tags, value in _SAMPLE.findall(text):
        own = re.search(r'(?:outcome|stage)="(\w+)"', tags)
        key = f"{name} {own[1]}" if own else name
        sums[key] = sums.get(key, 0.0) + float(value)
    return sums


def test_counters_grow_while_a_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the head's workers need the tests' captioner
    write_images(tmp_path / "in", 64)
    write_file(tmp_path / "in" / "0" / "0.png", b"")
    with running_head(cpus=1) as head:
        # Some seconds beyond the last image that is waited for: counters go with the worker that counts.
        arguments = [tmp_path / "in", tmp_path / "out", f"--address={head.address}", "--delay-s=0.25"]
        run = subprocess.Popen(
            [sys.executable, "-m", "tests.fake_run", *map(str, arguments)],
            cwd=ROOT,
            env=head.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end_s = time.monotonic() + 120
            while (found := scraped(head)).get("capstan_images ok", 0) < 15:
                assert run.poll() is None, "the run ended before its counters were seen"
                assert time.monotonic() < end_s
                time.sleep(0.3)
        finally:
            run.kill()
            run.wait()
    assert found["capstan_images empty"] == 1
    assert found["capstan_shards"] >= 2
    assert found["capstan_read_bytes"] > 1000
    assert {"capstan_stage_seconds read", "capstan_stage_seconds decode", "capstan_stage_seconds write"} <= found.keys()
