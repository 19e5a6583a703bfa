"""The .json and .txt files of a tar by key, compactly: a tar may hold ten million, and an image's may come last."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caption_core.archive.sources.tar_places import Span


class SiblingTable:
    """Files of one kind by key, in 40 bytes each; of several with one key the last counts, as if unpacked."""

    def __init__(self) -> None:
        self._digests = bytearray()  # 16 bytes a file: long enough that no two keys share one
        self._spans = array("q")  # offset and size in bytes
        self._order: NDArray[np.intp] | None = None

    def add(self, key: bytes, span: Span) -> None:
        """Keep where the file with this key is; not once `find` was called."""
        self._digests += _digest(key)
        self._spans.extend((span.offset, span.num_bytes))

    def find(self, keys: Sequence[bytes]) -> list[Span | None]:
        """Where the file with each of these keys is; None where there is none."""
        digests = _halves(self._digests)
        if not len(digests) or not keys:
            return [None] * len(keys)
        if self._order is None:
            self._order = np.argsort(digests[:, 0], kind="stable")
        wanted = _halves(b"".join(map(_digest, keys)))
        after = np.searchsorted(digests[:, 0], wanted[:, 0], side="right", sorter=self._order)
        rows = self._order[np.maximum(after - 1, 0)]
        found = (digests[rows] == wanted).all(axis=1)
        spans = np.frombuffer(self._spans, np.int64).reshape(-1, 2)[rows]
        pairs = zip(spans.tolist(), found.tolist(), strict=True)
        return [Span(*span) if is_there else None for span, is_there in pairs]


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()


def _halves(digests: bytes | bytearray) -> NDArray[np.uint64]:
    """uint64 [files, 2]."""
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
