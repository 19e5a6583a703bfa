"""Runs a step by its settings' kind: `steps/KIND.py` has `apply(settings, context)`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import count

from caption_core.bundle import Bundle
from compression.context import StepContext
from compression.leftovers import remove_states
from compression.settings.step import Step


def apply_step(step: Step, context: StepContext) -> Bundle:
    """Take a step: the parent's bundle to the child's, in `context.folder`.

    Trainings that an earlier process began there go on after their last whole epoch.

    Raises:
        CapstanError: the step can't be taken.
    """
    begun = replace(context, trainings=count())
    bundle: Bundle = import_module(f"compression.steps.{step.kind}").apply(step, begun)
    remove_states(context.folder)
    return bundle
