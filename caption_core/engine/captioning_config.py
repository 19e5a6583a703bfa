"""A captioning run as the user asks for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from caption_core.archive.output_folder import check_apart
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.sources.inputs import open_inputs
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.storage import Storage
from caption_core.engine.cluster import ClusterConfig
from caption_core.engine.pool_size import ANY_CLAIM, ActorClaim, ActorRange
from caption_core.errors import UsageError
from caption_core.images import ImageLimits
from caption_core.records import ErrorKind
from caption_core.search import SearchSettings

_SHARE_OF_DOWNLOADS = 0.8  # of an image's time; the rest is for decoding


@dataclass(frozen=True, slots=True)
class SearchOverrides:
    """Search settings that the user sets; None leaves the captioner's default."""

    beam_width: int | None = None
    max_tokens: int | None = None
    length_penalty: float | None = None
    candidates: int | None = None

    def applied_to(self, defaults: SearchSettings) -> SearchSettings:
        """The settings to search with.

        Raises:
            UsageError: one is out of range.
        """
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, slots=True)
class CaptioningConfig:
    """What to caption, how, and where to.

    Attributes:
        inputs: folders, archives, manifests, patterns of them, or addresses.
        output: folder or address for the Parquet parts.
        options: how to read the inputs.
        actors: bounds of the pool; None for as many actors as fit.
        claim: CPUs that each actor claims and its captioner uses, GPUs, and CPUs elsewhere that decode for it.
        batch_size: images in one call of the captioner.
        shard_size: images a part; None for a default that depends on their number alone.
        search: what differs from the captioner's defaults.
        limits: caps an image must keep.
        image_timeout_s: that reading one image may take, and then decoding it.
        dedup: whether images of a shard with equal bytes are captioned once.
        limit: caption only so many images, the first ones; None for all.
        max_error_rate: share of failed images above which the run stops: of its own while it works, of all at its end;
            None for no limit.
        retry_failed: kinds of failures to try again; None to leave them.
        overwrite: delete what earlier runs wrote into the output folder.
        cluster: where to run.
    """

    inputs: tuple[str, ...]
    output: str
    options: InputOptions = field(default_factory=InputOptions)
    actors: ActorRange | None = None
    claim: ActorClaim = ANY_CLAIM
    batch_size: int = 32
    shard_size: int | None = None
    search: SearchOverrides = field(default_factory=SearchOverrides)
    limits: ImageLimits = field(default_factory=ImageLimits)
    image_timeout_s: float = 120.0
    dedup: bool = False
    limit: int | None = None
    max_error_rate: float | None = None
    retry_failed: frozenset[ErrorKind] | None = None
    overwrite: bool = False
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no input: name at least one folder, archive or manifest")
        _check_range("batch size", self.batch_size, 1, 4096)
        _check_range("image timeout", self.image_timeout_s, 0.01, 86_400)
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit must be at least 1, not {self.limit}")
        if self.max_error_rate is not None:
            _check_range("max error rate", self.max_error_rate, 0, 1)
        if self.overwrite and self.retry_failed is not None:
            raise UsageError("overwriting leaves no failed images to retry; choose one of the two")

    def open_source(self) -> CombinedSource:
        """The inputs, looked up.

        Raises:
            UsageError: one is missing or of no known kind, or lies in the output folder, or that in it.
        """
        # A download that can't succeed in time must say what failed, rather than hang in the way of others.
        web = replace(self.options.web, deadline_s=_SHARE_OF_DOWNLOADS * self.image_timeout_s)
        source = open_inputs(self.inputs, replace(self.options, web=web))
        check_apart(source.locations(), self.storage())
        return source

    def storage(self) -> Storage:
        """Where the parts go.

        Raises:
            UsageError: the address can't be used.
        """
        return Storage.at(self.output)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} must lie between {least:,} and {most:,}, not {value}")
