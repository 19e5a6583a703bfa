"""One shard from references to a committed part, in one process, without Ray."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from caption_core.archive.attempts import Attempt, AttemptLog
from caption_core.archive.outcomes import (
    ImageOutcome,
    OutcomeCounts,
    count_outcomes,
    count_rows,
    failed_positions,
    outcomes_to_table,
    output_schema,
    replace_rows,
)
from caption_core.archive.parts import PartFooter, part_name, read_footer, read_rows, write_part
from caption_core.archive.plan_files import PlanReader
from caption_core.archive.run_record import check_shared, state_folder
from caption_core.archive.sources.source import carried_in
from caption_core.captioner import Captioner
from caption_core.engine.image_loader import ImageLoader, LoadedImage, LoadRequest
from caption_core.engine.work import CaptioningWork, ShardSummary, StageSeconds
from caption_core.errors import CapstanError, ImageError
from caption_core.images import DecodedImage, describe
from caption_core.records import Caption, ErrorKind, ImageRef

if TYPE_CHECKING:
    from caption_core.engine.decode_pool import DecodePool

# Batches decoded ahead of the one in inference: one to hand over, one in the making.
_BATCHES_AHEAD = 2


class ShardCaptioner:
    """A loaded captioner that turns shards into parts, one at a time.

    Args:
        work: the run's.
        beat: called whenever an image or a batch is done.

    Raises:
        CapstanError: this machine lacks the input, the output or a working captioner.
    """

    def __init__(self, work: CaptioningWork, beat: Callable[[], None] = lambda: None) -> None:
        record = check_shared(work.output, work.identity)
        self._work, self._beat = work, beat
        self._state = state_folder(work.output)
        self._plan, self._refs = record.plan, PlanReader(self._state.sub(record.plan_folder))
        self._schema = output_schema(work.source.carried())
        self._captioner = _load(work)
        self._loader = _loader(work, self._captioner.image_size, beat)
        self._name = f"{os.uname().nodename}:{os.getpid()}"
        # Warms up the runtime too, before the first shard's clock starts.
        self._probe()

    @property
    def is_worn_out(self) -> bool:
        """Whether so many threads hang in bad images that the process should be replaced."""
        return self._loader.is_worn_out

    def caption_shard(self, shard_id: int) -> ShardSummary:
        """Caption a shard and commit its part, or find it committed by an earlier try; or try its failures again.

        Raises:
            CapstanError: the captioner stopped working, or the shard lost too many workers.
            OSError: the plan can't be read, or the part can't be written.
        """
        shard = _ShardInWork(shard_id, time.time())
        committed = self._committed(shard_id)
        if committed is not None and self._work.retry is None:
            return ShardSummary(shard_id, committed, self._name, shard.started_s, time.time())
        log = AttemptLog(self._state, shard_id)
        attempt = log.begin()
        if attempt.is_hopeless:
            raise CapstanError(
                f"its workers died {attempt.number - 1} times, and not of one image; "
                "the machine may lack memory for the captioner and its batches (see --batch-size)"
            )
        try:
            counts = self._retry(shard, attempt, log) if committed is not None else self._commit(shard, attempt, log)
        except BaseException:
            log.take_back()
            raise
        if attempt.is_careful:
            log.take_back()  # or the image noted last might be blamed for what happens later
        return ShardSummary(
            shard_id,
            counts,
            self._name,
            shard.started_s,
            time.time(),
            shard.stages,
            num_bytes=shard.num_bytes,
            peak_memory_bytes=_peak_memory_bytes(),
        )

    def _commit(self, shard: _ShardInWork, attempt: Attempt, log: AttemptLog) -> OutcomeCounts:
        refs = self._read_refs(shard.shard_id)
        outcomes = self._outcomes(shard, refs, range(len(refs)), attempt, log)
        counts = count_outcomes(outcomes)
        self._write(shard, self._table(shard.shard_id, outcomes), counts)
        return counts

    def _retry(self, shard: _ShardInWork, attempt: Attempt, log: AttemptLog) -> OutcomeCounts:
        """Try a finished shard's failures again."""
        rows = read_rows(self._work.output, shard.shard_id)
        failed = failed_positions(rows, self._work.retry)
        if not failed:
            return OutcomeCounts()
        outcomes = self._outcomes(shard, self._read_refs(shard.shard_id), failed, attempt, log)
        rows = replace_rows(rows, failed, self._table(shard.shard_id, outcomes))
        self._write(shard, rows, count_rows(rows))
        return count_outcomes(outcomes)

    def _table(self, shard_id: int, outcomes: Sequence[ImageOutcome]) -> pa.Table:
        return outcomes_to_table(outcomes, self._captioner.model_id, shard_id, self._work.search, self._schema)

    def _write(self, shard: _ShardInWork, rows: pa.Table, counts: OutcomeCounts) -> None:
        begun_s = time.perf_counter()
        identity = self._work.identity
        write_part(self._work.output, shard.shard_id, rows, PartFooter(identity.fingerprint, identity.settings, counts))
        shard.stages += StageSeconds(write=time.perf_counter() - begun_s)

    def _committed(self, shard_id: int) -> OutcomeCounts | None:
        """Counts of a part that is there: in a retry, or where its worker was lost just after it was committed."""
        try:
            footer = read_footer(self._work.output, part_name(shard_id))
        except FileNotFoundError:
            return None
        except OSError:  # which some file systems also raise for what isn't there
            if self._work.output.exists(part_name(shard_id)):
                raise
            return None
        return footer.counts if footer.fingerprint == self._work.identity.fingerprint else None

    def _read_refs(self, shard_id: int) -> list[ImageRef]:
        return self._refs.refs(self._plan.images_of(shard_id))

    def _outcomes(
        self,
        shard: _ShardInWork,
        refs: Sequence[ImageRef],
        positions: Sequence[int],
        attempt: Attempt,
        log: AttemptLog,
    ) -> list[ImageOutcome]:
        """How the images at some positions ended, in their order."""
        condemned = (position for position in attempt.condemned if position in positions)
        outcomes = {position: self._condemned(refs[position]) for position in condemned}
        todo = [position for position in positions if position not in outcomes]
        batch_size = 1 if attempt.is_careful else self._work.batch_size
        ahead = 0 if attempt.is_careful else _BATCHES_AHEAD * batch_size
        copies = _Copies(self._work.dedup)
        batch: list[LoadedImage] = []
        note = log.suspect if attempt.is_careful else None
        for image in self._loader.load(LoadRequest(refs, todo, ahead, batch_size, note)):
            self._beat()
            shard.add(image)
            if isinstance(image.result, ImageError):
                outcomes[image.position] = self._outcome(refs, image, image.result)
            elif not copies.takes(image):
                batch.append(image)
            if len(batch) == batch_size:
                outcomes.update(self._caption_batch(shard, refs, batch))
                batch = []
        outcomes.update(self._caption_batch(shard, refs, batch))
        outcomes.update(copies.outcomes(refs, outcomes))
        return [outcomes[position] for position in positions]

    def _caption_batch(
        self, shard: _ShardInWork, refs: Sequence[ImageRef], batch: Sequence[LoadedImage]
    ) -> dict[int, ImageOutcome]:
        if not batch:
            return {}
        before = StageSeconds(encode=self._captioner.encode_s, search=self._captioner.search_s)
        begun_s = time.perf_counter()
        pixels = [_pixels(image) for image in batch]
        # A GPU leaves the CPUs to who decodes the next images.
        with nullcontext() if self._work.gpus else self._loader.held_back():
            results = self._results(pixels)
        infer_ms = 1000 * (time.perf_counter() - begun_s) / len(batch)
        shard.stages += StageSeconds(
            encode=self._captioner.encode_s - before.encode, search=self._captioner.search_s - before.search
        )
        self._beat()
        return {
            image.position: replace(self._outcome(refs, image, result), infer_ms=infer_ms)
            for image, result in zip(batch, results, strict=True)
        }

    def _outcome(self, refs: Sequence[ImageRef], image: LoadedImage, result: Caption | ImageError) -> ImageOutcome:
        ref, decoded = refs[image.position], image.result if isinstance(image.result, DecodedImage) else None
        return ImageOutcome(
            ref=ref,
            result=result,
            width=decoded.width if decoded else None,
            height=decoded.height if decoded else None,
            sha256=image.sha256,
            decode_ms=1000 * image.decode_s if decoded else None,
            # Where reading came to no end, its reference still tells some of it.
            carried=image.carried or carried_in(self._work.source, ref),
        )

    def _condemned(self, ref: ImageRef) -> ImageOutcome:
        error = ImageError(ErrorKind.CRASHED, "its worker died whenever it worked on this image")
        return ImageOutcome(ref, error, carried=carried_in(self._work.source, ref))

    def _results(self, pixels: Sequence[NDArray[np.uint8]]) -> Sequence[Caption | ImageError]:
        """Caption together; where that fails, one by one, so that only the image at fault goes without."""
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
        _check_scores(captions)
        return captions

    def _probe(self) -> None:
        """Caption a grey image. A captioner that can't do even that is broken, and the images are not at fault."""
        try:
            self._captions(np.full((1, *self._captioner.image_size, 3), 127, np.uint8))
        except Exception as error:
            message = f"{self._work.captioner.model_id}: the captioner fails on any image: {describe(error)}"
            raise CapstanError(message) from error


class _ShardInWork:
    """A shard's running totals."""

    def __init__(self, shard_id: int, started_s: float) -> None:
        self.shard_id, self.started_s = shard_id, started_s
        self.stages = StageSeconds()
        self.num_bytes = 0

    def add(self, image: LoadedImage) -> None:
        self.stages += StageSeconds(read=image.read_s, decode=image.decode_s)
        self.num_bytes += image.num_bytes


class _Copies:
    """Images with the same bytes as an earlier one of their shard."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._first: dict[str | None, int] = {}
        # Without their pixels, of which a shard may have thousands.
        self._copies: list[tuple[int, int, float, Mapping[str, Any]]] = []

    def takes(self, image: LoadedImage) -> bool:
        """Whether an image that was decoded need not be captioned."""
        first = self._first.setdefault(image.sha256, image.position) if self._wanted else image.position
        if first == image.position:
            return False
        self._copies.append((image.position, first, 1000 * image.decode_s, image.carried))
        return True

    def outcomes(self, refs: Sequence[ImageRef], others: Mapping[int, ImageOutcome]) -> dict[int, ImageOutcome]:
        """What became of the copies, given what became of the first ones."""
        return {
            position: replace(others[first], ref=refs[position], decode_ms=decode_ms, infer_ms=None, carried=carried)
            for position, first, decode_ms, carried in self._copies
        }


def _pixels(image: LoadedImage) -> NDArray[np.uint8]:
    assert isinstance(image.result, DecodedImage)
    return image.result.pixels


def _check_scores(captions: Iterable[Caption]) -> None:
    """See to it that scores are numbers: where a network's logits are none, the search still finds words."""
    for caption in captions:
        if not math.isfinite(caption.score):
            raise FloatingPointError(f"its caption's score is {caption.score}: the captioner's numbers are not finite")


def _peak_memory_bytes() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _loader(work: CaptioningWork, image_size: tuple[int, int], beat: Callable[[], None]) -> ImageLoader | DecodePool:
    own = ImageLoader(work, image_size, beat)
    if not work.decoders:
        return own
    # Imported late: Ray Data takes its time, and memory.
    from caption_core.engine.decode_pool import DecodePool

    return DecodePool(work, image_size, own, beat)


def _check_gpu() -> None:
    """TensorFlow would do without one, many times slower, and say so in a log that nobody reads."""
    from caption_core.runtimes.tensorflow import has_gpu

    if not has_gpu():
        raise CapstanError(
            "the actor claims a GPU, and TensorFlow finds none on its machine: install its CUDA libraries "
            "(pip install 'tensorflow[and-cuda]'), or leave out --gpus-per-actor"
        )


def _load(work: CaptioningWork) -> Captioner:
    captioner = work.captioner.load(work.threads)
    if work.gpus and work.captioner.runtime == "tensorflow":
        _check_gpu()
    if captioner.model_id != work.captioner.model_id:
        raise CapstanError(f"the captioner changed during the run: {work.captioner.model_id} → {captioner.model_id}")
    return captioner
