"""Names and numbers as a report's sentences have them."""

from __future__ import annotations

from collections.abc import Sequence

from compression.measurement import Machine

_MOST_NAMES = 6
_RUNTIMES = {"tensorflow": "TensorFlow", "litert": "LiteRT"}


def machine_in_words(machine: Machine) -> str:
    """Processor, cores, memory, system, and versions of what computes."""
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    cores = counted(machine.cores, "core")
    return f"{machine.processor}, {cores}, {machine.memory_gb:g} GB of memory, {machine.system}; {versions}"


def runtime_name(runtime: str) -> str:
    """A bundle's runtime as its makers write it."""
    return _RUNTIMES.get(runtime, runtime)


def listed(names: Sequence[str]) -> str:
    """Names in a row; of many the first, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it is of; the plural where it is more than the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def span(ratios: Sequence[float]) -> str:
    """The lowest to the highest, or the one that both are."""
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    return low if low == high else f"{low} to {high}"
