"""Knowledge distillation: training on the words of the captioner that the chain began with.

Of its distribution over the next word (Hinton et al. 2015, arXiv 1503.02531), of its captions (Kim and Rush 2016, arXiv
1606.07947), or of both.
"""

from __future__ import annotations

from caption_core.bundle import Bundle
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.settings.fine_tuning import Distill


def apply(step: Distill, context: StepContext) -> Bundle:
    """Train the parent on its teacher's words; zeros stay zeros.

    Raises:
        UsageError: there are no data, or the teacher doesn't know a word of the parent's.
    """
    model = load_model(context.parent)
    history = Tuner(context, model, step.training).run()
    bundle = write_float_child(context, step, model, did=f"{step.level} level, from {context.teacher.model_id}")
    record_step(context, step, history=history, teacher=context.teacher.model_id)
    return bundle
