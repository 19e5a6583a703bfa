"""A captioner without a network: captions say what an image's mean colour is, so a row betrays a mixed-up image."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_core.archive.storage import Storage
from caption_core.captioner import Captioner
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.records import Caption
from caption_core.search import SearchSettings

MODEL_ID = "fake@000000000000"
POISON = (255, 0, 255)  # a mean colour (magenta) that makes inference fail
DEADLY = (0, 255, 255)  # a mean colour (cyan) that kills the process
GREY = 127  # every value of the image that a captioner is tried with before any other; captioned without delay
STALLING = (255, 255, 0)  # a mean colour (yellow) that takes for ever, if the captioner is told to stall


class FakeCaptioner(Captioner):
    """Deterministic, and fails on request."""

    def __init__(
        self, model_id: str = MODEL_ID, *, stalls: bool = False, delay_s: float = 0.0, seen: Path | None = None
    ) -> None:
        self.model_id = model_id
        self.image_size = (16, 24)
        self.search = SearchSettings()
        self.batches: list[int] = []
        self._stalls = stalls
        self._delay_s, self._seen = delay_s, seen

    def caption(self, images: NDArray[np.uint8], search: SearchSettings | None = None) -> list[Caption]:
        """Name each image's mean colour."""
        assert images.dtype == np.uint8
        assert images.shape[1:] == (*self.image_size, 3)
        self.batches.append(len(images))
        if not (images == GREY).all():
            time.sleep(self._delay_s * len(images))
        if self._seen is not None:
            with self._seen.open("ab") as file:
                file.write(b"." * len(images))
        return [self._say(image, search or self.search) for image in images]

    def _say(self, image: NDArray[np.uint8], search: SearchSettings) -> Caption:
        colour = tuple(int(value) for value in image.reshape(-1, 3).mean(axis=0).round())
        if colour == POISON:
            raise ValueError("a poisonous image")
        if colour == DEADLY:
            os._exit(66)
        if colour == STALLING and self._stalls:
            time.sleep(3600)
        return Caption(expected_caption(colour), -float(search.beam_width), 4)


@dataclass(frozen=True)
class FakeLoader:
    """Loads it, in a worker too; can be told to fail, or to note down that it was called."""

    model_id: str = MODEL_ID
    stalls: bool = False
    fails: bool = False
    breaks: bool = False  # as no author foresaw
    calls: Path | None = None
    delay_s: float = 0.0  # an image
    seen: Path | None = None  # a file that grows by a byte an image
    full_after: int | None = None  # parts that a worker may write before its disk is full

    def __call__(self, threads: int) -> Captioner:
        """See `CaptionerSpec.load`."""
        if self.calls is not None:
            with self.calls.open("a") as file:
                file.write(f"{os.getpid()} {threads} {os.environ.get('TF_USE_LEGACY_KERAS')} ")
                file.write(f"{os.environ.get('OMP_NUM_THREADS')}\n")
        if self.fails:
            raise ImportError("no runtime on this machine")
        if self.breaks:
            raise RuntimeError("out of order")
        if self.full_after is not None:
            fill_disk_after(self.full_after)
        return FakeCaptioner(self.model_id, stalls=self.stalls, delay_s=self.delay_s, seen=self.seen)


def fill_disk_after(num_parts: int) -> None:
    """Let this process write so many parts, and half of the next one."""
    moved_into_place, left = Storage.moved_into_place, [num_parts]

    @contextmanager
    def limited(storage: Storage, name: str) -> Iterator[str]:
        with moved_into_place(storage, name) as path:
            if name.startswith("part-"):
                left[0] -= 1
                if left[0] < 0:
                    Path(path).write_bytes(b"PAR1 half")
                    raise OSError(errno.ENOSPC, "No space left on device")
            yield path

    Storage.moved_into_place = limited  # type: ignore[method-assign, assignment]


def fake_spec(loader: FakeLoader | None = None) -> CaptionerSpec:
    """What a run is given."""
    loader = loader or FakeLoader()
    return CaptionerSpec(loader.model_id, SearchSettings(), loader)


def expected_caption(colour: Sequence[int]) -> str:
    """What the captioner says of an image of one colour."""
    return "colour " + " ".join(map(str, colour))
