"""A fresh process that measures one captioner: `python -m compression.measuring.worker`.

The process keeps to as many cores as it may use threads before any library is loaded, for some size their thread pools
by the cores that they see.
"""

from __future__ import annotations

import gc
import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.child_process import answer_request
from compression.measuring.start_line import StartLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from caption_core.captioner import Captioner
    from caption_core.search import SearchSettings
    from compression.measuring.stages import Captioning

Request = dict[str, Any]
Reply = dict[str, Any]

_RUNTIMES = {"litert": "caption_core.runtimes.litert", "tensorflow": "caption_core.runtimes.tensorflow"}


def main() -> None:
    """Answer one request."""
    answer_request(_answer_on_own_cores)


def _answer_on_own_cores(request: Request) -> Any:
    os.sched_setaffinity(0, cores_of(os.sched_getaffinity(0), request["slot"], request["threads"]))
    return answer(request)


def answer(request: Request) -> Any:
    """What a task measures.

    Raises:
        CapstanError: the captioner can't be measured.
    """
    return _TASKS[request["task"]](request)


def cores_of(available: Iterable[int], slot: int, threads: int) -> list[int]:
    """Cores of one of the processes that measure at the same time."""
    return sorted(available)[slot * threads : (slot + 1) * threads]


def _measure_speed(request: Request) -> list[Reply]:
    """Run the request's passes, one after the other, on one captioner."""
    from caption_core.captioner import load_captioner

    captioner = load_captioner(Path(request["bundle"]), threads=request["threads"])
    files = [Path(file) for file in request["files"]]
    pixels = _decode(files, captioner.image_size)
    return [_run_pass(captioner, files, pixels, wanted, request["threads"]) for wanted in request["passes"]]


def _run_pass(
    captioner: Captioner, files: list[Path], pixels: NDArray[np.uint8], wanted: Request, threads: int
) -> Reply:
    """Caption the pixels uint8 [files, height, width, 3], or the files, over and over up to the wanted number."""
    search = replace(captioner.search, beam_width=wanted["beam_width"])
    # A runtime sets up its memory for a batch's size with the first one.
    captioner.caption(next(_batches(pixels, wanted)), search)
    if wanted["from_files"]:
        return {"seconds": _caption_files(captioner, files, search, wanted, threads)}
    captioner.encode_s = captioner.search_s = 0.0
    batch_s = [_seconds(partial(captioner.caption, batch, search)) for batch in _batches(pixels, wanted)]
    return {"batch_s": batch_s, "encode_s": captioner.encode_s, "search_s": captioner.search_s}


def _batches(pixels: NDArray[np.uint8], wanted: Request) -> Iterator[NDArray[np.uint8]]:
    for begin in range(0, wanted["images"], wanted["batch"]):
        yield pixels.take(range(begin, begin + wanted["batch"]), axis=0, mode="wrap")


def _caption_files(
    captioner: Captioner, files: list[Path], search: SearchSettings, wanted: Request, threads: int
) -> float:
    from compression.measuring.pixels import pixel_batches

    chosen = [files[index % len(files)] for index in range(wanted["images"])]
    begun = time.perf_counter()
    for batch in pixel_batches(chosen, captioner.image_size, batch=wanted["batch"], threads=threads):
        captioner.caption(batch, search)
    return time.perf_counter() - begun


def _measure_loading(request: Request) -> Reply:
    """Load the captioner and caption a batch, with the resident memory before and after, in bytes."""
    from caption_core.bundle import open_bundle
    from caption_core.captioner import load_captioner

    folder, threads = Path(request["bundle"]), request["threads"]
    manifest = open_bundle(folder).manifest
    import_s = _seconds(lambda: importlib.import_module(_RUNTIMES[manifest.runtime]))
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    pixels = _decode([Path(file) for file in request["files"]], size)
    batch = pixels.take(range(request["batch"]), axis=0, mode="wrap")
    before, begun = _resident_bytes(), time.perf_counter()
    captioner = load_captioner(folder, threads=threads)
    load_s, loaded = time.perf_counter() - begun, _resident_bytes()
    first_s = _seconds(lambda: captioner.caption(batch))
    memory = {"before": before, "loaded": loaded, "captioned": _resident_bytes()}
    return {"import_s": import_s, "load_s": load_s, "first_s": first_s, **memory}


def _decode(files: list[Path], size: tuple[int, int]) -> NDArray[np.uint8]:
    import numpy as np

    from compression.measuring.pixels import read_pixels

    return np.stack([read_pixels(file, size) for file in files])


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _resident_bytes() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _measure_stages(request: Request) -> Reply:
    """Time the stages of captioning."""
    from compression.measuring.stages import measure_stages

    return measure_stages(*_captioning(request), images=request["images"])


def _measure_loop(request: Request) -> float:
    """Time a loop over the stages, which begins when those of other processes do."""
    from compression.measuring.stages import measure_loop

    line = StartLine(Path(request["start"]), request["slot"], request["together"])
    return measure_loop(*_captioning(request), images=request["images"], start=line.wait)


def _captioning(request: Request) -> tuple[Captioner, list[Path], Captioning]:
    from caption_core.captioner import load_captioner
    from compression.measuring.stages import Captioning, search_of

    threads = request["threads"]
    captioner = load_captioner(Path(request["bundle"]), threads=threads, precision=request["precision"])
    search = search_of(captioner, request["beam_width"])
    how = Captioning(search, request["batch"], threads)
    return captioner, [Path(file) for file in request["files"]], how


_TASKS: dict[str, Callable[[Request], Any]] = {
    "speed": _measure_speed,
    "loading": _measure_loading,
    "stages": _measure_stages,
    "loop": _measure_loop,
}

if __name__ == "__main__":
    main()
