"""What each stage of captioning costs, and a loop by hand over all of them, in one process without Ray."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.outcomes import ImageOutcome, count_outcomes, outcomes_to_table, output_schema
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.storage import Storage
from caption_core.captioner import Captioner
from caption_core.images import DecodedImage, ImageLimits, decode_image
from caption_core.records import Caption, ImageRef
from caption_core.search import SearchSettings

Result = TypeVar("Result")

_Decode = Callable[[Sequence[bytes]], list[DecodedImage]]
_Captioned = tuple[Path, tuple[int, int], Caption]  # a file, its width and height, and its caption

STAGES = ("read", "decode", "encode", "search", "write")


@dataclass(frozen=True, slots=True)
class Captioning:
    """How images are captioned.

    Attributes:
        search: settings.
        batch: images in one call of the captioner.
        threads: that decode.
    """

    search: SearchSettings
    batch: int
    threads: int

    @contextmanager
    def decoder(self, size: tuple[int, int]) -> Iterator[_Decode]:
        """What decodes files to `size`, (height, width) in pixels, with so many threads."""
        limits = ImageLimits()
        with ThreadPoolExecutor(self.threads) as pool:

            def decode(items: Sequence[bytes]) -> list[DecodedImage]:
                run = map if self.threads == 1 else pool.map
                return list(run(lambda one: decode_image(one, size, limits), items))

            yield decode


def measure_stages(captioner: Captioner, files: Sequence[Path], how: Captioning, *, images: int) -> dict[str, float]:
    """Time each stage by itself, a batch at a time: one batch of files and pixels is in memory.

    The files are read over and over, so they come from the system's cache. Hashing belongs to reading. A first batch
    of each is left out.

    Args:
        captioner: loaded with so many threads.
        files: images.
        how: they are captioned.
        images: how many are timed.

    Returns:
        Seconds an image by stage.
    """
    chosen = list(islice(cycle(files), images))
    with how.decoder(captioner.image_size) as decode:
        first = _captioned(captioner, chosen[: how.batch], how.search, decode, defaultdict(float))
        _write(first, captioner.model_id, how.search)
        seconds, rows = defaultdict[str, float](float), list[_Captioned]()
        for group in _groups(chosen, how.batch):
            rows += _captioned(captioner, group, how.search, decode, seconds)
    _, seconds["write"] = _timed(lambda: _write(rows, captioner.model_id, how.search))
    return {name: seconds[name] / images for name in STAGES}


def _captioned(
    captioner: Captioner,
    files: Sequence[Path],
    search: SearchSettings,
    decode: _Decode,
    seconds: defaultdict[str, float],
) -> list[_Captioned]:
    """Caption a batch, and add what each stage took."""
    data, read_s = _timed(lambda: [_read(file) for file in files])
    decoded, decode_s = _timed(lambda: decode(data))
    captioner.encode_s = captioner.search_s = 0.0
    captions = captioner.caption(np.stack([image.pixels for image in decoded]), search)
    took = {"read": read_s, "decode": decode_s, "encode": captioner.encode_s, "search": captioner.search_s}
    for stage, stage_s in took.items():
        seconds[stage] += stage_s
    sizes = [(image.width, image.height) for image in decoded]
    return list(zip(files, sizes, captions, strict=True))


def measure_loop(
    captioner: Captioner, files: Sequence[Path], how: Captioning, *, images: int, start: Callable[[], None]
) -> float:
    """Time a loop by hand over the same stages.

    Args:
        captioner: loaded with so many threads.
        files: images.
        how: they are captioned.
        images: how many are timed; a first batch is left out.
        start: called when all is ready.

    Returns:
        Seconds an image.
    """
    chosen = list(islice(cycle(files), images))
    with how.decoder(captioner.image_size) as decode:
        _loop(captioner, chosen[: how.batch], how.search, how.batch, decode)
        start()
        _, seconds = _timed(lambda: _loop(captioner, chosen, how.search, how.batch, decode))
    return seconds / images


def search_of(captioner: Captioner, beam_width: int | None) -> SearchSettings:
    """A captioner's own settings, but for the beam width where one is given."""
    return captioner.search if beam_width is None else replace(captioner.search, beam_width=beam_width)


def _loop(
    captioner: Captioner,
    files: Sequence[Path],
    search: SearchSettings,
    batch: int,
    decode: _Decode,
) -> None:
    """What one writes by hand for a folder of sound images."""
    rows: list[tuple[str, str]] = []
    for group in _groups(files, batch):
        pixels = np.stack([image.pixels for image in decode([file.read_bytes() for file in group])])
        captions = captioner.caption(pixels, search)
        rows += [(file.name, caption.text) for file, caption in zip(group, captions, strict=True)]
    names, texts = zip(*rows, strict=True)
    with tempfile.TemporaryFile() as file:
        pq.write_table(pa.table({"image_id": names, "caption": texts}), file)


def _read(file: Path) -> bytes:
    data = file.read_bytes()
    hashlib.sha256(data).hexdigest()
    return data


def _write(captioned: Sequence[_Captioned], model_id: str, search: SearchSettings) -> None:
    outcomes = [
        ImageOutcome(ImageRef(file.name, file.as_uri(), 0), caption, width, height, "0" * 64, 1.0, 1.0)
        for file, (width, height), caption in captioned
    ]
    rows = outcomes_to_table(outcomes, model_id, 0, search, output_schema(pa.schema([])))
    with tempfile.TemporaryDirectory() as folder:
        write_part(Storage.at(folder), 0, rows, PartFooter("", {}, count_outcomes(outcomes)))


def _groups(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (files[begin : begin + size] for begin in range(0, len(files), size))


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun
