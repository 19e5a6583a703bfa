"""Runs a step by its settings' kind: `steps/KIND.py` has `apply(settings, context)`."""

from __future__ import annotations

from importlib import import_module

from caption_core.bundle import Bundle
from compression.context import StepContext
from compression.settings.step import Step
from compression.training_state import remove_states


def apply_step(step: Step, context: StepContext) -> Bundle:
    """Take a step: the parent's bundle to the child's, in `context.folder`.

    Trainings that an earlier process began there go on after their last whole epoch.

    Raises:
        CapstanError: the step can't be taken.
    """
    bundle: Bundle = import_module(f"compression.steps.{step.kind}").apply(step, context)
    remove_states(context.folder)
    return bundle
