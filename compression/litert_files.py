"""A captioning model as the files of a LiteRT bundle, each part in a format of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from caption_core.models.captioning import CaptioningModel
from caption_core.runtimes.litert import DECODER_START, DECODER_STEP, ENCODER
from compression.calibration import encode_images
from compression.export import export_decoder, export_encoder
from compression.kept_float import kept_float
from compression.settings.fields import Part
from compression.settings.quantization import CALIBRATED, Format


def litert_files(
    model: CaptioningModel,
    formats: Mapping[Part, Format],
    images: Sequence[NDArray[np.uint8]] = (),
    *,
    keep_float: Sequence[str] = (),
    max_tokens: int = 20,
    encoder: bytes | None = None,
) -> dict[str, bytes]:
    """Convert both parts.

    Args:
        model: the float model.
        formats: of each part.
        images: for calibrated formats, uint8 [height, width, 3] each.
        keep_float: parts of names of the layers that stay in float.
        max_tokens: words of the longest caption that a decoder is calibrated on.
        encoder: the encoder's graph, where it is made already.

    Raises:
        UsageError: `keep_float` names no layer, or a format can't keep layers in float.
    """
    kept = kept_float(model, keep_float)
    if encoder is None:
        shown = images if formats["encoder"] in CALIBRATED else ()
        encoder = export_encoder(model, shown, formats["encoder"], kept["encoder"])
    features = list(encode_images(encoder, np.stack(images))) if formats["decoder"] in CALIBRATED else []
    start, step = export_decoder(model, formats["decoder"], features, kept["decoder"], max_tokens)
    return {ENCODER: encoder, DECODER_START: start, DECODER_STEP: step}
