"""The captioner: images in, captions out, whatever runtime holds the weights."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle, open_bundle
from caption_core.errors import BundleError
from caption_core.records import Caption
from caption_core.runtimes import Runtime
from caption_core.search import Hypotheses, SearchSettings
from caption_core.search import search as find_captions
from caption_core.vocabulary import Vocabulary


class Captioner:
    """Captions batches of images. Not thread-safe: one captioner a thread.

    Args:
        bundle: the verified bundle.
        runtime: the runtime that holds its weights.
        vocabulary: its vocabulary.

    Attributes:
        model_id: name and digest of the bundle.
        image_size: (height, width) in pixels of the images that `caption` takes.
        search: the bundle's search defaults.
        encode_s: time spent in the encoder so far, in seconds.
        search_s: time spent in the search so far, the decoder's steps included, in seconds.
    """

    encode_s = 0.0
    search_s = 0.0

    def __init__(self, bundle: Bundle, runtime: Runtime, vocabulary: Vocabulary) -> None:
        self.model_id = bundle.model_id
        self.image_size = (bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width)
        self.search = bundle.manifest.search.settings()
        self._runtime, self._vocabulary = runtime, vocabulary

    def caption(self, images: NDArray[np.uint8], search: SearchSettings | None = None) -> list[Caption]:
        """Caption a batch.

        Args:
            images: uint8 [batch, height, width, 3], RGB, resized to `image_size`; the batch may be empty.
            search: settings in place of the bundle's defaults.

        Returns:
            One caption an image, in order.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (*self.image_size, 3):
            raise ValueError(f"images are {images.dtype} {images.shape}, not uint8 [batch, {self.image_size}, 3]")
        if len(images) == 0:
            return []
        settings = search or self.search
        begun_s = time.perf_counter()
        features = self._runtime.encode(images)
        encoded_s = time.perf_counter()
        state, step = self._runtime.start(features)
        captions = self._captions(find_captions(step, state, settings), settings.candidates)
        self.encode_s += encoded_s - begun_s
        self.search_s += time.perf_counter() - encoded_s
        return captions

    def _captions(self, found: Hypotheses, num_candidates: int) -> list[Caption]:
        return [self._caption(found, image, num_candidates) for image in range(len(found.tokens))]

    def _caption(self, found: Hypotheses, image: int, num_candidates: int) -> Caption:
        texts = [self._vocabulary.decode(ids) for ids in found.tokens[image, : max(1, num_candidates)]]
        scores = found.scores[image].tolist()
        finished = [(text, score) for text, score in zip(texts, scores, strict=False) if score > float("-inf")]
        return Caption(texts[0], scores[0], int(found.lengths[image, 0]), tuple(finished[:num_candidates]))


def load_captioner(folder: Path, *, threads: int = 1, precision: str = "float32") -> Captioner:
    """Load and verify a bundle with the runtime that its manifest names.

    Args:
        folder: the bundle.
        threads: threads its runtime may use.
        precision: of a float bundle's activations: 'float32', 'bfloat16' or 'float16'.

    Raises:
        BundleError: the bundle is missing, altered or doesn't fit together, or its runtime is not installed.
    """
    bundle = open_bundle(folder)
    vocabulary = Vocabulary.load(bundle.path(VOCABULARY))
    if len(vocabulary) != bundle.manifest.architecture.decoder_config.get("vocabulary_size"):
        raise BundleError(f"{folder}: vocabulary and decoder have different sizes")
    return Captioner(bundle, load_runtime(bundle, threads=threads, precision=precision), vocabulary)


def load_runtime(bundle: Bundle, *, threads: int, precision: str = "float32") -> Runtime:
    """Load a verified bundle's weights into the runtime that its manifest names; raises as `load_captioner` does."""
    if bundle.manifest.runtime == "litert":
        from caption_core.runtimes.litert import LiteRTRuntime

        return LiteRTRuntime(bundle, threads=threads)
    try:
        from caption_core.runtimes.tensorflow import TensorFlowRuntime
    except ImportError as error:
        raise BundleError(
            f"{bundle.folder}: a float bundle needs TensorFlow, which is not installed: pip install 'capstan[train]'"
        ) from error
    return TensorFlowRuntime(bundle, threads=threads, precision=precision)
