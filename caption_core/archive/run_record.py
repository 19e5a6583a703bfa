"""What a run writes down of itself when it begins: its settings, its plan, and where its references are."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from caption_core.archive.patience import refusal_of
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import CapstanError

# Readers of Parquet folders pass over names that start with an underscore.
STATE_FOLDER = "_run"
_RECORD = "run.json"
_PLAN_PREFIX = "plan-"

# Hugging Face `datasets` passes over dots alone: this tells it which files are the data set.
HUGGING_FACE_CARD = ".huggingface.yaml"
_HUGGING_FACE_CONFIG = b"""configs:
- config_name: default
  data_files:
  - split: train
    path: "part-*.parquet"
"""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it was begun, or resumed.

    Attributes:
        identity: its settings.
        plan: its images in numbers.
        plan_folder: name of the folder of its references, in the state folder.
        inputs: as the user named them.
        begun_at: when it was begun for the first time, in UTC, ISO 8601.
        started_at: when it was begun or resumed for the last time.
    """

    identity: RunIdentity
    plan: ShardPlan
    plan_folder: str
    inputs: tuple[str, ...]
    begun_at: str
    started_at: str


def begin_record(
    identity: RunIdentity,
    plan: ShardPlan,
    plan_folder: str,
    inputs: Sequence[str],
    earlier: RunRecord | None = None,
) -> RunRecord:
    """A record of this moment; of an earlier one with the same settings it is the continuation."""
    now = datetime.now(timezone.utc).isoformat("T", "seconds")
    begun_at = earlier.begun_at if earlier and earlier.identity.fingerprint == identity.fingerprint else now
    return RunRecord(identity, plan, plan_folder, tuple(inputs), begun_at, now)


def state_folder(output: Storage) -> Storage:
    """Where a run keeps its notes."""
    return output.sub(STATE_FOLDER)


def new_plan_folder() -> str:
    """Name for a new folder of references."""
    return _PLAN_PREFIX + secrets.token_hex(4)


def write_record(output: Storage, record: RunRecord) -> None:
    """Write the record down, in place of an earlier one, and what readers of the folder have to know."""
    content = {
        "fingerprint": record.identity.fingerprint,
        "settings": dict(record.identity.settings),
        "plan": asdict(record.plan),
        "plan_folder": record.plan_folder,
        "inputs": record.inputs,
        "begun_at": record.begun_at,
        "started_at": record.started_at,
    }
    output.write(HUGGING_FACE_CARD, _HUGGING_FACE_CONFIG)
    state_folder(output).write(_RECORD, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def read_record(output: Storage) -> RunRecord | None:
    """The record of a folder's run; None where there is none that can be read."""
    try:
        return _stored_record(output)
    except OSError:
        return None


def _stored_record(output: Storage) -> RunRecord | None:
    """The record of a folder's run; None where it makes no sense.

    Raises:
        OSError: it can't be read.
    """
    data = state_folder(output).read(_RECORD)
    try:
        content = json.loads(data)
        return RunRecord(
            identity=RunIdentity(content["settings"]),
            plan=ShardPlan(**content["plan"]),
            plan_folder=str(content["plan_folder"]),
            inputs=tuple(content["inputs"]),
            begun_at=str(content["begun_at"]),
            started_at=str(content["started_at"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def check_shared(output: Storage, identity: RunIdentity) -> RunRecord:
    """See to it that this machine writes to the folder that the driver prepared, not to a namesake of it.

    Raises:
        CapstanError: it doesn't.
        OSError: it can't be told at this moment.
    """
    try:
        record = _stored_record(output)
    except OSError as error:
        if refusal_of(error) is not None:
            raise
        record = None
    if record is None or record.identity.fingerprint != identity.fingerprint:
        raise CapstanError(
            f"{output}: this machine ({os.uname().nodename}) doesn't see the run's output folder; "
            "a cluster's machines must share it under the same path"
        )
    return record


def remove_other_plans(output: Storage, keep: str | None) -> None:
    """Delete references of earlier runs, and what a killed listing left of them."""
    state = state_folder(output)
    for name in state.folder_names():
        if name.startswith(_PLAN_PREFIX) and name != keep:
            state.sub(name).delete_all()
