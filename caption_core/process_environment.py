"""Environment variables that are read once in a process, before its first line or when TensorFlow is first imported."""

from __future__ import annotations

import os

# Without these, glibc gives the memory of each decoded image, and of each large array of an update, back to the system,
# and takes it anew for the next one.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
}


def tensorflow_environment() -> dict[str, str]:
    """What every process that may import TensorFlow has set by then."""
    return {
        # The models are Keras 2 models, for TF-MOT works on no others.
        "TF_USE_LEGACY_KERAS": "1",
        # By default TensorFlow leaves oneDNN's kernels out on x86 processors without instructions for networks (VNNI
        # and the like), where encoders are up to twice as fast with them (docs/speed.md).
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1"),
    }


def worker_environment() -> dict[str, str]:
    """What Ray sets in processes that caption, train or compress."""
    return {**tensorflow_environment(), "TF_CPP_MIN_LOG_LEVEL": "2", **_MALLOC}


def bounded_environment(threads: int) -> dict[str, str]:
    """The same, for a process that shares its machine: it uses so many CPUs, and no more of a GPU than it needs."""
    tensorflow = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    numbers = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", *tensorflow)
    return {
        **worker_environment(),
        # Otherwise the first of several actors on a GPU takes all of its memory.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **dict.fromkeys(numbers, str(threads)),
    }
