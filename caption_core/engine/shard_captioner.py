"""One shard from references to a committed part, in one process, without Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_core.archive.attempts import begin_attempt, end_attempts
from caption_core.archive.outcomes import ImageOutcome, OutcomeCounts, count_outcomes, outcomes_to_table
from caption_core.archive.output_folder import check_shared
from caption_core.archive.parts import PartFooter, part_name, read_footer, write_part
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import Shard
from caption_core.archive.sources.source import ImageSource
from caption_core.captioner import Captioner
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.lookahead import map_ahead
from caption_core.errors import CapstanError, ImageError
from caption_core.images import DecodedImage, ImageLimits, decode_image, describe
from caption_core.records import Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings

# Batches decoded ahead of the one in inference: one to hand over, one in the making.
_BATCHES_AHEAD = 2

# Ray tries a shard again whenever its worker dies. Machines come and go; an image that kills four workers will kill the
# fifth.
_MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class CaptioningWork:
    """What each worker of a run must know; a picklable value.

    Attributes:
        source: where the images are.
        output: where the parts go.
        captioner: makes the captions.
        search: how they are searched for.
        limits: caps an image must keep.
        identity: the run's, written into each part.
        batch_size: images in one call of the captioner, at most.
        threads: CPUs the worker has; the captioner's threads and, plus one that waits for files, the decoding ones.
    """

    source: ImageSource
    output: Path
    captioner: CaptionerSpec
    search: SearchSettings
    limits: ImageLimits
    identity: RunIdentity
    batch_size: int
    threads: int


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """All that a worker reports of a shard.

    Attributes:
        shard_id: which.
        counts: how its images ended.
        worker: the process that did it.
        started_s: seconds since the epoch.
        finished_s: seconds since the epoch.
    """

    shard_id: int
    counts: OutcomeCounts
    worker: str
    started_s: float
    finished_s: float


class ShardCaptioner:
    """A loaded captioner that turns shards into parts, one at a time.

    Raises:
        CapstanError: this machine lacks the input, the output or a working captioner.
    """

    def __init__(self, work: CaptioningWork) -> None:
        work.source.check_visible()
        check_shared(work.output, work.identity)
        self._work = work
        self._captioner = _load(work)
        self._decoders = ThreadPoolExecutor(work.threads + 1, thread_name_prefix="decode")
        self._name = f"{os.uname().nodename}:{os.getpid()}"
        # Warms up the runtime too, before the first shard's clock starts.
        self._probe()

    def caption_shard(self, shard: Shard) -> ShardSummary:
        """Caption a shard and commit its part, or find it committed by an earlier try.

        Raises:
            CapstanError: the captioner stopped working, or the shard lost too many workers.
            OSError: the part can't be written.
        """
        started_s = time.time()
        counts = self._committed(shard.shard_id)
        if counts is None:
            self._begin(shard.shard_id)
            counts = self._commit(shard)
            end_attempts(self._work.output, shard.shard_id)
        return ShardSummary(shard.shard_id, counts, self._name, started_s, time.time())

    def _begin(self, shard_id: int) -> None:
        attempt = begin_attempt(self._work.output, shard_id)
        if attempt > _MAX_ATTEMPTS:
            raise CapstanError(
                f"its worker died {attempt - 1} times; an image in it may crash the decoder or the captioner, "
                "or the machine may lack memory for its largest images (see --max-pixels)"
            )

    def _commit(self, shard: Shard) -> OutcomeCounts:
        outcomes = self._outcomes(shard.refs)
        counts = count_outcomes(outcomes)
        rows = outcomes_to_table(outcomes, self._work.captioner.model_id, shard.shard_id)
        footer = PartFooter(self._work.identity.fingerprint, self._work.identity.settings, counts)
        write_part(self._work.output, shard.shard_id, rows, footer)
        return counts

    def _committed(self, shard_id: int) -> OutcomeCounts | None:
        """Counts of a part that was committed just before its worker was lost, so that the shard came back."""
        path = self._work.output / part_name(shard_id)
        if not path.exists():
            return None
        footer = read_footer(path)
        return footer.counts if footer.fingerprint == self._work.identity.fingerprint else None

    def _outcomes(self, refs: Sequence[ImageRef]) -> list[ImageOutcome]:
        outcomes: dict[int, ImageOutcome] = {}
        batch: list[tuple[int, DecodedImage]] = []
        size = self._work.batch_size
        decoded = map_ahead(self._decode, refs, self._decoders, _BATCHES_AHEAD * size)
        for index, image in enumerate(decoded):
            if isinstance(image, ImageError):
                outcomes[index] = ImageOutcome(refs[index], image)
                continue
            batch.append((index, image))
            if len(batch) == size:
                outcomes.update(self._caption_batch(refs, batch))
                batch = []
        outcomes.update(self._caption_batch(refs, batch))
        return [outcomes[index] for index in range(len(refs))]

    def _decode(self, ref: ImageRef) -> DecodedImage | ImageError:
        limits = self._work.limits
        try:
            data = self._work.source.read(ref, limits.max_bytes)
            return decode_image(data, self._captioner.image_size, limits)
        except ImageError as error:
            return error

    def _caption_batch(
        self, refs: Sequence[ImageRef], batch: Sequence[tuple[int, DecodedImage]]
    ) -> dict[int, ImageOutcome]:
        results = self._results([image.pixels for _, image in batch])
        return {
            index: ImageOutcome(refs[index], result, image.width, image.height)
            for (index, image), result in zip(batch, results, strict=True)
        }

    def _results(self, pixels: Sequence[NDArray[np.uint8]]) -> Sequence[Caption | ImageError]:
        """Caption together; where that fails, one by one, so that only the image at fault goes without."""
        if not pixels:
            return []
        try:
            return self._captions(np.stack(pixels))
        except Exception as error:
            if len(pixels) > 1:
                return [result for image in pixels for result in self._results([image])]
            self._probe()
            return [ImageError(ErrorKind.INFERENCE_FAILED, describe(error))]

    def _captions(self, images: NDArray[np.uint8]) -> list[Caption]:
        captions = self._captioner.caption(images, self._work.search)
        if len(captions) != len(images):
            raise RuntimeError(f"{len(captions)} captions for {len(images)} images")
        return captions

    def _probe(self) -> None:
        """Caption a grey image. A captioner that can't do even that is broken, and the images are not at fault."""
        try:
            self._captions(np.full((1, *self._captioner.image_size, 3), 127, np.uint8))
        except Exception as error:
            message = f"{self._work.captioner.model_id}: the captioner fails on any image: {describe(error)}"
            raise CapstanError(message) from error


def _load(work: CaptioningWork) -> Captioner:
    captioner = work.captioner.load(work.threads)
    if captioner.model_id != work.captioner.model_id:
        raise CapstanError(f"the captioner changed during the run: {work.captioner.model_id} → {captioner.model_id}")
    return captioner
