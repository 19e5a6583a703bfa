from __future__ import annotations

import json

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.runtimes.tensorflow import load_model
from compression.places import places_of
from compression.settings.fine_tuning import FineTune
from compression.settings.pruning import Hard
from compression.settings.training import Training
from compression.steps.fine_tune import apply
from compression.steps.hard import apply as prune
from compression.variants import RECORD
from tests.compression.conftest import MakeContext

STEP = FineTune(training=Training(epochs=2, learning_rate=0.01, warmup_steps=0))


def test_zeros_stay_and_the_other_weights_train(make_context: MakeContext) -> None:
    pruned = prune(Hard(part="decoder", sparsity=0.8), make_context(captions=False, name="pruned"))
    context = make_context(parent=pruned.folder)
    bundle = apply(STEP, context)

    changed = 0
    for old, new in zip(*(places_of(load_model(made), "decoder") for made in (pruned, bundle)), strict=True):
        before, after = old.variable.numpy(), new.variable.numpy()
        np.testing.assert_array_equal(before == 0, after == 0)
        changed += int((before != after).sum())
    assert changed
    assert bundle.manifest.provenance.steps[-1] == "fine_tune: references, 2 epochs"
    record = json.loads((context.folder / RECORD).read_text())
    assert record["kind"] == "fine_tune"
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2]


def test_training_needs_captions(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="this recipe trains"):
        apply(STEP, make_context(captions=False))
