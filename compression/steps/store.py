"""The bundle as a user downloads it: its weights entropy-coded."""

from __future__ import annotations

from caption_core.bundle import Bundle
from compression.context import StepContext, record_step
from compression.settings.delivery import Store
from compression.storage import store_bundle


def apply(step: Store, context: StepContext) -> Bundle:
    """Write the parent with its weights compressed; captions stay the same."""
    bundle = store_bundle(context.parent.folder, context.output, step.codec)
    record_step(context, step, raw_bytes=context.parent.num_bytes(), stored_bytes=bundle.num_bytes())
    return bundle
