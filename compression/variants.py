"""What a study makes: variants of trained captioners, and the steps that they share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from caption_core.bundle import Bundle, file_digest
from compression.order import StepError
from compression.recipe import Chain
from compression.settings.step import Step

RECORD = "step.json"
"""What a step measured of itself, beside its bundle: epochs, sparsities, errors of layers."""

# Settings that steps did not always have, with what stands for those that have none.
_LATER = {"dropout_scale": 1.0}


@dataclass(frozen=True, slots=True)
class Variant:
    """One captioner that a study makes.

    Attributes:
        name: unique in its study; parts are joined by `+`.
        model: name of the trained captioner that it is made from.
        axes: its choice on each axis of the grid.
        chain: what is done to it; no steps for the captioner as it is.
        seed: decides all that its steps draw.
    """

    name: str
    model: str
    axes: dict[str, str]
    chain: Chain
    seed: int

    @property
    def folder_name(self) -> str:
        """The name as a folder's, in ASCII: bundles are named after it."""
        return re.sub(r"[^A-Za-z0-9+_.=-]", "_", self.name)


@dataclass(frozen=True, slots=True)
class StepNode:
    """A step after all steps before it: what several variants may share.

    Attributes:
        key: digest of the model, the steps so far, seed and data: an equal key is an equal bundle.
        parent: key of the node before, or None where the model itself is the parent.
        step: what is done.
        model: name of the trained captioner.
        seed: the variant's.
        known: key of the latest node before whose training moved the decoder, or None where only the model's did.
    """

    key: str
    parent: str | None
    step: Step
    model: str
    seed: int
    known: str | None


def nodes_of(variant: Variant, model: Bundle, data_digest: str) -> list[StepNode]:
    """A variant's steps in order, as nodes.

    Raises:
        UsageError: a file that a step takes can't be read; the message gives the recipe's line.
    """
    nodes: list[StepNode] = []
    known: str | None = None
    for index, step in enumerate(variant.chain.steps):
        parent = nodes[-1].key if nodes else None
        settings = _as_before(step.model_dump(mode="json")) | _contents(variant.chain, index)
        taught = [known] if step.learns_features and known else []
        key = digest_of([parent or model.digest, step.kind, settings, variant.seed, data_digest, *taught])
        nodes.append(StepNode(key, parent, step.located(), variant.model, variant.seed, known))
        known = key if "decoder" in step.moves else known
    return nodes


def _contents(chain: Chain, index: int) -> dict[str, list[str]]:
    """What stands for a step's files in its key: their content, and their names, which its bundle tells."""
    step = chain.steps[index]
    try:
        return {setting: [path.name, file_digest(path)] for setting, path in step.files.items()}
    except OSError as error:
        reason = f"{step.kind}: {error.filename}: can't be read: {error.strerror}"
        raise chain.error(StepError(index, reason)) from error


def _as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that came later, where they change nothing: steps that were taken before stay taken."""
    plain = {name: _as_before(value) if isinstance(value, dict) else value for name, value in settings.items()}
    return {name: value for name, value in plain.items() if name not in _LATER or value != _LATER[name]}


def union(chains: Iterable[list[StepNode]]) -> list[StepNode]:
    """All nodes once, every one behind its parent."""
    nodes: dict[str, StepNode] = {}
    for chain in chains:
        for node in chain:
            nodes.setdefault(node.key, node)
    return list(nodes.values())


def digest_of(value: Any) -> str:
    """A short digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
