"""Runtimes that hold a captioner's weights and run its graphs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caption_core.search import State, Step


class Runtime(Protocol):
    """What a captioner asks of a runtime. Shapes: B images, L grid locations."""

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 [B, height, width, 3], RGB, to features float32 [B, L, channels]."""

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """Features to the decoder's first state, arrays [B, 1, ...], and the step over these images."""
