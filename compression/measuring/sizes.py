"""How large a captioner is, in parameters and in bytes, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from caption_core.bundle import MANIFEST, VOCABULARY, Bundle
from caption_core.stored_files import expanded_name
from compression.measurement import Size
from compression.measuring.stored_weights import (
    FLOAT_WEIGHTS,
    PART_FILES,
    StoredWeight,
    float_tensors,
    stored_weights,
    tensors_of,
)
from compression.settings.fields import PARTS, Part


def measure_sizes(bundle: Bundle) -> dict[str, Size]:
    """Sizes of `encoder`, `decoder`, `vocabulary` and `whole`.

    A part's bytes are those of its files. A float bundle has both parts in one file: a part's raw bytes are those of
    its arrays, and so are its stored bytes unless the file is compressed. Then the file's bytes are divided in
    proportion to what zstd makes of each part's arrays alone: a division that follows which part is sparse, whatever
    codec the file has. What belongs to no part, such as the file's header and the manifest, counts in `whole` only.

    Raises:
        BundleError: a file of weights can't be read.
    """
    weights = stored_weights(bundle)
    part_bytes = _bytes_in_one_file if bundle.manifest.runtime == "tensorflow" else _bytes_in_own_files
    bytes_by_part = part_bytes(bundle)
    parts: dict[str, Size] = {
        part: _size([weight for weight in weights if weight.part == part], *bytes_by_part[part]) for part in PARTS
    }
    return {
        **parts,
        "vocabulary": _size([], *_file_bytes(bundle, lambda name: name == VOCABULARY)),
        "whole": _size(weights, *_file_bytes(bundle, lambda _: True)),
    }


def _size(weights: Sequence[StoredWeight], raw_bytes: int, stored_bytes: int) -> Size:
    matrices = [weight.distinct_values for weight in weights if weight.is_matrix]
    return Size(
        parameters=sum(weight.elements for weight in weights),
        nonzeros=sum(weight.nonzeros for weight in weights),
        distinct_values=sum(matrices) / len(matrices) if matrices else 0.0,
        raw_bytes=raw_bytes,
        stored_bytes=stored_bytes,
    )


def _file_bytes(bundle: Bundle, is_meant: Callable[[str], bool]) -> tuple[int, int]:
    """Raw and stored bytes of the files whose expanded names are meant; the manifest is one of them."""
    raw = stored = 0
    for name in (*bundle.manifest.files, MANIFEST):
        if is_meant(expanded_name(name)):
            num_bytes = (bundle.folder / name).stat().st_size
            stored += num_bytes
            raw += bundle.manifest.expanded[name].bytes if name in bundle.manifest.expanded else num_bytes
    return raw, stored


def _bytes_in_own_files(bundle: Bundle) -> dict[Part, tuple[int, int]]:
    return {part: _file_bytes(bundle, PART_FILES[part].__contains__) for part in PARTS}


def _bytes_in_one_file(bundle: Bundle) -> dict[Part, tuple[int, int]]:
    tensors = float_tensors(bundle)
    raw = {part: sum(values.nbytes for values in tensors_of(tensors, part)) for part in PARTS}
    if not bundle.is_compressed(FLOAT_WEIGHTS):
        return {part: (raw[part], raw[part]) for part in PARTS}
    _, stored = _file_bytes(bundle, lambda name: name == FLOAT_WEIGHTS)
    alone = {part: sum(map(_compressed_bytes, tensors_of(tensors, part))) for part in PARTS}
    return {part: (raw[part], round(stored * alone[part] / sum(alone.values()))) for part in PARTS}


def _compressed_bytes(values: NDArray[Any]) -> int:
    return len(pa.Codec("zstd").compress(values.tobytes(), asbytes=True))
