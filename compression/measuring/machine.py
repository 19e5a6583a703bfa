"""The machine that speed is measured on, in words that name neither it nor its user."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from compression.measurement import Machine

_PACKAGES = ("tensorflow", "ai-edge-litert", "numpy")
_CPU_INFO = Path("/proc/cpuinfo")


def measure_machine() -> Machine:
    """Processor, cores that this process may use, memory of the machine, system, and versions of what computes."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        system=_system(),
        versions={"python": platform.python_version(), **_versions()},
    )


def _processor(cpu_info: Path = _CPU_INFO) -> str:
    """The model's name; what the machine calls its kind where the kernel tells none, as on Arm."""
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def _system() -> str:
    """Without what follows the release's first two numbers: that is often the name of somebody's own build."""
    release = ".".join(platform.release().split(".")[:2])
    return f"{platform.system()} {release}, {platform.machine()}"


def _versions() -> dict[str, str]:
    found = {package: _version(package) for package in _PACKAGES}
    return {package: number for package, number in found.items() if number is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
