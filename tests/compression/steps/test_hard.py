from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.runtimes.tensorflow import load_model
from compression.masks import sparsity_of
from compression.places import places_of
from compression.settings.pruning import Hard, Ranking
from compression.settings.training import Training
from compression.steps.hard import apply
from compression.variants import RECORD
from tests.compression.conftest import MakeContext


@pytest.mark.parametrize("method", get_args(Ranking))
def test_decoder_has_exactly_the_sparsity(make_context: MakeContext, method: Ranking) -> None:
    context = make_context(captions=False)
    bundle = apply(Hard(part="decoder", sparsity=0.37, method=method), context)

    places = places_of(load_model(bundle), "decoder")
    elements = sum(place.variable.shape.num_elements() for place in places)
    if method == "uniform":
        for place in places:
            zeros = np.count_nonzero(place.variable.numpy() == 0)
            assert zeros == round(0.37 * place.variable.shape.num_elements())
    else:
        assert sparsity_of(places) == round(0.37 * elements) / elements
    record = json.loads((context.folder / RECORD).read_text())
    assert record["kind"] == "hard"
    assert record["sparsity"] == sparsity_of(places)
    assert [layer["name"] for layer in record["layer_sparsities"]] == [place.name for place in places]


@pytest.mark.slow
def test_kept_weights_and_the_other_part_stay_as_they_were(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    before = load_model(context.parent)
    after = load_model(apply(Hard(part="decoder", sparsity=0.5), context))

    for old, new in zip(places_of(before, "decoder"), places_of(after, "decoder"), strict=True):
        kept = new.variable.numpy() != 0
        np.testing.assert_array_equal(new.variable.numpy()[kept], old.variable.numpy()[kept])
    for old, new in zip(before.encoder.get_weights(), after.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_encoder_is_pruned_where_layers_say(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    layers = ("block_1_expand", "block_2_expand")
    step = Hard(part="encoder", sparsity=0.8, layers=layers)
    model = load_model(apply(step, context))

    assert sparsity_of(places_of(model, "encoder", layers)) == pytest.approx(0.8, abs=1e-3)
    others = [place for place in places_of(model, "encoder") if not any(text in place.name for text in layers)]
    assert sparsity_of(others) < 0.01


def test_layers_that_are_not_there_are_refused(make_context: MakeContext) -> None:
    step = Hard(part="decoder", sparsity=0.5, layers=("embedding", "gate_from_h"))

    with pytest.raises(UsageError, match="decoder has 'gate_from_h'"):
        apply(step, make_context(captions=False))


@pytest.mark.slow
def test_training_keeps_the_masks(make_context: MakeContext) -> None:
    context = make_context()
    step = Hard(part="decoder", sparsity=0.5, training=Training(epochs=2, learning_rate=0.01, warmup_steps=0))
    trained = load_model(apply(step, context))
    pruned = load_model(apply(Hard(part="decoder", sparsity=0.5), make_context(captions=False, name="once")))

    changed = 0
    for new, old in zip(places_of(trained, "decoder"), places_of(pruned, "decoder"), strict=True):
        np.testing.assert_array_equal(new.variable.numpy() == 0, old.variable.numpy() == 0)
        changed += int((new.variable.numpy() != old.variable.numpy()).any())
    assert changed
    assert len(json.loads((context.folder / RECORD).read_text())["history"]) == 2


@pytest.mark.slow
def test_pruning_further_keeps_earlier_zeros(make_context: MakeContext) -> None:
    context = make_context(captions=False)
    first = apply(Hard(part="decoder", sparsity=0.3, method="uniform"), context)
    second = apply(
        Hard(part="decoder", sparsity=0.6), make_context(captions=False, parent=first.folder, name="further")
    )

    before, after = (places_of(load_model(bundle), "decoder") for bundle in (first, second))
    assert sparsity_of(after) == pytest.approx(0.6, abs=1e-3)
    for old, new in zip(before, after, strict=True):
        assert (new.variable.numpy()[old.variable.numpy() == 0] == 0).all()
