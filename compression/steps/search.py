"""Other search defaults; no weight changes."""

from __future__ import annotations

from caption_core.bundle import VOCABULARY, Bundle
from caption_core.models.weights import WEIGHTS
from compression.context import StepContext, record_step, write_child
from compression.settings.delivery import Search


def apply(step: Search, context: StepContext) -> Bundle:
    """Write the parent with the step's search defaults."""
    changed = step.model_dump(exclude_none=True)
    search = context.parent.manifest.search.model_dump() | changed
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changed.items())
    files = {name: context.parent.read(name) for name in (WEIGHTS, VOCABULARY)}
    bundle = write_child(context, step, files, did=said, fields={"search": search})
    record_step(context, step)
    return bundle
