"""What workers of a captioning run are told, and what they report."""

from __future__ import annotations

from dataclasses import dataclass, field

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.sources.source import ImageSource
from caption_core.archive.storage import Storage
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.images import ImageLimits
from caption_core.records import ErrorKind
from caption_core.search import SearchSettings


@dataclass(frozen=True, slots=True)
class CaptioningWork:
    """What each worker of a run must know; a picklable value.

    Attributes:
        source: where the images are.
        output: where the plan is and the parts go.
        captioner: makes the captions.
        search: how they are searched for.
        limits: caps an image must keep.
        identity: the run's, written into each part.
        batch_size: images in one call of the captioner, at most.
        threads: CPUs the worker has; threads of the captioner, and threads that decode.
        gpus: that the worker has, for the captioner alone.
        decoders: tasks elsewhere that decode for the worker at a time; with 0 it decodes itself.
        image_timeout_s: that reading one image may take, and then decoding it.
        dedup: whether images of a shard with equal bytes are captioned once.
        retry: kinds of failures to try again in finished shards; None to caption pending ones.
    """

    source: ImageSource
    output: Storage
    captioner: CaptionerSpec
    search: SearchSettings
    limits: ImageLimits
    identity: RunIdentity
    batch_size: int
    threads: int
    gpus: float = 0.0
    decoders: int = 0
    image_timeout_s: float = 120.0
    dedup: bool = False
    retry: frozenset[ErrorKind] | None = None


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where a worker's time went, in seconds. Reading and decoding run beside the rest, in several threads.

    Attributes:
        read: bytes from files, archives and servers, hashing included.
        decode: bytes to pixels, resizing included.
        encode: pixels to features.
        search: features to captions, the decoder's steps included.
        write: rows to a committed part.
    """

    read: float = 0.0
    decode: float = 0.0
    encode: float = 0.0
    search: float = 0.0
    write: float = 0.0

    def __add__(self, other: StageSeconds) -> StageSeconds:
        """Both together."""
        return StageSeconds(
            self.read + other.read,
            self.decode + other.decode,
            self.encode + other.encode,
            self.search + other.search,
            self.write + other.write,
        )


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """All that a worker reports of a shard.

    Attributes:
        shard_id: which.
        counts: how the images that were worked on ended.
        worker: the process that did it.
        started_s: seconds since the epoch.
        finished_s: seconds since the epoch.
        stages: where the time went.
        num_bytes: read.
        peak_memory_bytes: of the worker so far.
    """

    shard_id: int
    counts: OutcomeCounts
    worker: str
    started_s: float
    finished_s: float
    stages: StageSeconds = field(default_factory=StageSeconds)
    num_bytes: int = 0
    peak_memory_bytes: int = 0
