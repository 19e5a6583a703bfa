"""What a run is, which of its shards are done, and whether its books balance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from caption_core.archive.outcomes import OutcomeCounts, sum_counts
from caption_core.archive.parts import PartFooter, list_parts, read_footer
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import CapstanError, UsageError

Setting = str | int | float

# Enough to hide an object store's delay; ten thousand footers are read one by one otherwise.
_READERS = 16

_SHOWN_CHARACTERS = 60  # a digest is longer, a model's id is not


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Everything that determines a run's rows, by name.

    Two runs with equal settings write equal parts, so one may continue what the other began.
    """

    settings: Mapping[str, Setting]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings, in hexadecimal."""
        return hashlib.sha256(json.dumps(dict(self.settings), sort_keys=True).encode()).hexdigest()

    def differences(self, other: Mapping[str, Setting]) -> list[str]:
        """What `other` says differently, as 'name other → ours'."""
        ours = self.settings
        names = [name for name in sorted(ours.keys() | other.keys()) if ours.get(name) != other.get(name)]
        return [f"{name} {_shown(other.get(name))} → {_shown(ours.get(name))}" for name in names]


def _shown(value: Setting | None) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:12] + "…"


class OtherRunError(UsageError):
    """An output folder that holds another run's parts.

    Args:
        output: the folder.
        differences: between that run and this one.
        hint: what more is known of them.
    """

    def __init__(self, output: Storage, differences: Sequence[str], hint: str = "") -> None:
        more = f"; {hint}" if hint else ""
        super().__init__(
            f"{output}: holds captions of a run with other settings ({'; '.join(differences)}{more}); "
            "resume with the same settings, choose an empty output folder, or begin again with --overwrite"
        )
        self.output, self.differences = output, differences


class ReconciliationError(CapstanError):
    """A run's parts don't add up to its input."""


def committed_parts(output: Storage, identity: RunIdentity) -> dict[int, OutcomeCounts]:
    """The run's finished shards, and how their images ended.

    Raises:
        OtherRunError: the folder holds parts of another run; the message names what differs.
        PartError: a part is damaged or not a run's.
    """

    def counts_of(footer: PartFooter) -> OutcomeCounts:
        if footer.fingerprint != identity.fingerprint:
            raise OtherRunError(output, identity.differences(footer.settings))
        return footer.counts

    return _from_footers(output, counts_of)


def part_counts(output: Storage) -> dict[int, OutcomeCounts]:
    """How the images of each part ended, whichever run wrote it.

    Raises:
        PartError: a part is damaged or not a run's.
    """
    return _from_footers(output, lambda footer: footer.counts)


def _from_footers(output: Storage, counts_of: Callable[[PartFooter], OutcomeCounts]) -> dict[int, OutcomeCounts]:
    def counts_in(name: str) -> OutcomeCounts | None:
        try:
            return counts_of(read_footer(output, name))
        except FileNotFoundError:
            return None  # deleted since it was listed

    parts = list_parts(output)
    with ThreadPoolExecutor(_READERS) as readers:
        found = zip(parts, readers.map(counts_in, parts.values()), strict=True)
        return {shard_id: counts for shard_id, counts in found if counts is not None}


def reconcile(plan: ShardPlan, parts: Mapping[int, OutcomeCounts]) -> OutcomeCounts:
    """Add up all parts and hold them against the plan: inputs = ok + failed, shard by shard.

    Raises:
        ReconciliationError: a part is missing, one too many, or one has too many or too few rows.
    """
    shards = parts.keys() | set(range(plan.num_shards))
    found = {shard_id: counts.total for shard_id, counts in parts.items()}
    if wrong := sorted(key for key in shards if len(plan.images_of(key)) != found.get(key)):
        first = wrong[0]
        raise ReconciliationError(
            f"{len(wrong)} of {plan.num_shards} shards don't add up; the first is shard {first}: "
            f"{len(plan.images_of(first)):,} images planned, {found.get(first, 0):,} rows written"
        )
    return sum_counts(parts.values())
