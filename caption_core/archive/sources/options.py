"""How a run's inputs are to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from caption_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class WebPolicy:
    """What http(s) addresses may cost, and where they may lead.

    Attributes:
        timeout_s: to connect, and between two pieces of an answer.
        total_s: for one try from beginning to end.
        deadline_s: for all tries of an image and the pauses between them.
        retries: further tries after a failure that may pass (a lost connection, 429, 5xx), with growing pauses.
        max_redirects: followed for one image.
        private_addresses: whether addresses of private networks, of this machine and of link-local services may be
            read. A manifest from outside could otherwise make the cluster read what only it can reach.
    """

    timeout_s: float = 10.0
    total_s: float = 60.0
    deadline_s: float = 100.0
    retries: int = 4
    max_redirects: int = 5
    private_addresses: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= 3600 or not 0 < self.total_s <= 36_000 or not 0 < self.deadline_s <= 100_000:
            raise UsageError("download times must be positive, and not more than hours")
        if not 0 <= self.retries <= 20 or not 0 <= self.max_redirects <= 20:
            raise UsageError("retries and redirects must lie between 0 and 20")


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What the user says about the inputs; the same for all inputs of a run.

    Attributes:
        follow_links: read files outside the input's folder too, where a link leads to them.
        image_column: column of images in Parquet files; None to find it by its type.
        path_column: column of paths or addresses in manifests; None to find it by its name.
        id_column: column whose values become image ids; None for ids made of paths, keys or row numbers.
        carry: columns to carry along into the output, each with the name it gets there.
        image_root: folder that a manifest's paths are relative to, and that they may not leave; None for the
            manifest's own folder, and absolute paths wherever they lead.
        web: for http(s) addresses.
        carry_where_there: whether an input may lack columns that are to be carried along: among several, another one
            may have them.
    """

    follow_links: bool = False
    image_column: str | None = None
    path_column: str | None = None
    id_column: str | None = None
    carry: tuple[tuple[str, str], ...] = ()
    image_root: Path | None = None
    web: WebPolicy = field(default_factory=WebPolicy)
    carry_where_there: bool = False
