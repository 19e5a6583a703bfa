"""What a run is, which of its shards are done, and whether its books balance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.parts import PartFooter, list_parts, read_footer
from caption_core.archive.shards import ShardPlan
from caption_core.errors import CapstanError, UsageError

Setting = str | int | float

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


class ReconciliationError(CapstanError):
    """A run's parts don't add up to its input."""


def committed_parts(folder: Path, identity: RunIdentity) -> dict[int, PartFooter]:
    """The run's finished shards.

    Raises:
        UsageError: the folder holds parts of another run; the message names what differs.
        PartError: a part is damaged or not a run's.
    """
    footers = {shard_id: read_footer(path) for shard_id, path in list_parts(folder).items()}
    for footer in footers.values():
        if footer.fingerprint != identity.fingerprint:
            differences = "; ".join(identity.differences(footer.settings))
            raise UsageError(
                f"{folder}: holds captions of a run with other settings ({differences}); "
                "resume with the same settings or choose an empty output folder"
            )
    return footers


def reconcile(plan: ShardPlan, parts: Mapping[int, PartFooter]) -> OutcomeCounts:
    """Add up all parts and hold them against the plan: inputs = ok + failed, shard by shard.

    Raises:
        ReconciliationError: a part is missing, one too many, or one has too many or too few rows.
    """
    planned = {shard.shard_id: len(shard.refs) for shard in plan.shards}
    found = {shard_id: footer.counts.total for shard_id, footer in parts.items()}
    if wrong := sorted(key for key in planned.keys() | found.keys() if planned.get(key) != found.get(key)):
        first = wrong[0]
        raise ReconciliationError(
            f"{len(wrong)} of {len(planned)} shards don't add up; the first is shard {first}: "
            f"{planned.get(first, 0):,} images planned, {found.get(first, 0):,} rows written"
        )
    return sum((footer.counts for footer in parts.values()), OutcomeCounts())
