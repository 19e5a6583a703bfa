"""A captioner that does nothing, so that what is left is the job's own cost."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caption_core.captioner import Captioner
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.records import Caption
from caption_core.search import SearchSettings

_MODEL_ID = "noop@000000000000"


class NoopCaptioner(Captioner):
    """Says the same of every image.

    Args:
        seconds_per_image: that it sleeps, in place of work.
        image_size: (height, width) in pixels of the images that it takes.
    """

    def __init__(self, seconds_per_image: float = 0.0, image_size: tuple[int, int] = (224, 224)) -> None:
        self.model_id, self.image_size, self.search = _MODEL_ID, image_size, SearchSettings(beam_width=1)
        self._seconds_per_image = seconds_per_image

    def caption(
        self,
        images: NDArray[np.uint8],
        search: SearchSettings | None = None,  # noqa: ARG002
    ) -> list[Caption]:
        """See `Captioner.caption`."""
        if self._seconds_per_image:
            time.sleep(self._seconds_per_image * len(images))
        return [Caption("nothing", 0.0, 1)] * len(images)


@dataclass(frozen=True, slots=True)
class NoopLoader:
    """Makes one in a worker.

    Attributes:
        seconds_per_image: see `NoopCaptioner`.
        image_size: see `NoopCaptioner`.
    """

    seconds_per_image: float = 0.0
    image_size: tuple[int, int] = (224, 224)

    def __call__(self, threads: int) -> Captioner:  # noqa: ARG002
        """See `CaptionerSpec.load`."""
        return NoopCaptioner(self.seconds_per_image, self.image_size)


def noop_captioner(loader: NoopLoader | None = None) -> CaptionerSpec:
    """As a run is given it."""
    return CaptionerSpec(_MODEL_ID, SearchSettings(beam_width=1), loader or NoopLoader())
