from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.weights import bundle_weights
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext
from compression.places import places_of
from compression.settings.fine_tuning import FineTune
from compression.settings.pruning import Hard
from compression.settings.training import Training
from compression.steps.fine_tune import apply
from compression.steps.hard import apply as prune
from compression.variants import RECORD
from tests.compression.builders import rewritten
from tests.compression.conftest import MakeContext

STEP = FineTune(training=Training(epochs=2, learning_rate=0.01, warmup_steps=0))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_training_that_does_harm_leaves_the_captioner_as_it_was(make_context: MakeContext) -> None:
    trained = apply(
        FineTune(training=Training(epochs=4, learning_rate=0.01, warmup_steps=0)), make_context(name="first")
    )
    lines: list[str] = []
    harmful = FineTune(training=Training(epochs=1, learning_rate=1.0, warmup_steps=0))
    bundle = apply(harmful, replace(make_context(parent=trained.folder, name="second"), log=lines.append))
    before, after = bundle_weights(trained), bundle_weights(bundle)
    assert all((after[name] == weight).all() for name, weight in before.items())
    assert lines[-1] == "keeps what it began with"
    scores = [float(line.split("dev_CIDEr-D=")[1].split()[0]) for line in lines if "dev_CIDEr-D=" in line]
    assert len(scores) == 2
    assert scores[0] > scores[1]


def with_dropout(bundle: Bundle, folder: Path, rate: float) -> Path:
    """The same captioner with a decoder that drops at this rate while it trains."""
    settings = dict(bundle.manifest.architecture.decoder_config)
    settings |= {name: rate for name in settings if name.endswith("_dropout")}
    return rewritten(bundle, folder, bundle_weights(bundle), {"decoder_config": settings}).folder


def losses(context: StepContext, dropout_scale: float) -> list[float]:
    """Of two epochs of one batch, in which the weights as good as stay."""
    still = Training(epochs=2, learning_rate=1e-12, warmup_steps=0, batch_images=12, dropout_scale=dropout_scale)
    bundle = apply(FineTune(training=still), context)
    assert bundle.manifest.architecture == context.parent.manifest.architecture
    return [epoch["loss"] for epoch in json.loads((context.folder / RECORD).read_text())["history"]]


@pytest.mark.slow
def test_less_is_dropped_where_that_is_asked_for(make_context: MakeContext, tmp_path: Path) -> None:
    parent = with_dropout(make_context().parent, tmp_path / "parent", 0.6)
    without, half, whole = (losses(make_context(parent=parent, name=f"{by}"), by) for by in (0.0, 0.5, 1.0))
    assert without[0] == without[1]
    assert whole[0] != whole[1]
    assert without[0] < min(half)
    assert max(half) < min(whole)


def test_training_needs_captions(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="this recipe trains"):
        apply(STEP, make_context(captions=False))
