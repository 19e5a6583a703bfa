"""Quantization-aware training of a decoder: its products are rounded in the forward pass as LiteRT's are.

Jacob et al. 2018 (arXiv 1712.05877), for the format that a decoder is converted to: matrices in symmetric int8 with a
scale an output channel, what they are multiplied by in asymmetric int8 with a range a row, measured as it comes. State,
gates and attention stay in float, as they do in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf

from caption_core.bundle import Bundle
from caption_core.models.captioning import CaptioningModel
from caption_core.models.weights import Weights
from caption_core.runtimes.tensorflow import load_model
from compression.changed_calls import changed_calls
from compression.constraint import Constraint
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.fixed_clusters import FixedClusters
from compression.places import places_of
from compression.products import channel_axes, is_rounded_dynamically, product_inputs
from compression.rounding import rounded_channels, rounded_rows
from compression.settings.quantization import QuantizationAware


class RoundedDecoder(Constraint):
    """Rounds a decoder's products; clusters of its matrices stay clusters.

    Args:
        model: whose decoder is rounded.
    """

    def __init__(self, model: CaptioningModel) -> None:
        self.places = [place for place in places_of(model, "decoder") if is_rounded_dynamically(place)]
        self.clusters = FixedClusters(self.places)

    def values(self, seed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """See `Constraint`: the rounded matrices."""
        del seed
        return {place.name: rounded_channels(place.variable, channel_axes(place)) for place in self.places}

    @contextmanager
    def traced(self) -> Iterator[None]:
        """See `Constraint`: what the matrices are multiplied by is rounded too."""
        with changed_calls([call for place in self.places for call in product_inputs(place, rounded_rows)]):
            yield

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        self.clusters.after_update(update, updates)

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """See `Constraint`: rounded matrices, but for clustered ones: a scale a channel would multiply their values."""
        places = [place for place in self.places if place.name not in self.clusters.names]
        trained: Weights = {place.name: place.variable.numpy() for place in places}
        for place in places:
            place.variable.assign(rounded_channels(place.variable, channel_axes(place)))
        try:
            yield
        finally:
            for place in places:
                place.variable.assign(trained[place.name])


def quantize_decoder_aware(step: QuantizationAware, context: StepContext) -> Bundle:
    """Train the decoder under the rounding of LiteRT's format `dynamic`, and write the float bundle of it.

    Raises:
        UsageError: the context has no captions to train on, or an encoder that was trained for int8 is to train along.
    """
    model = load_model(context.parent)
    constraint = RoundedDecoder(model)
    history = Tuner(context, model, step.training, constraint).run()
    did = "decoder trained under the rounding of int8"
    bundle = write_float_child(context, step, model, did=did)
    rounded = [place.name for place in constraint.places]
    record_step(context, step, history=history, rounded=rounded, clustered=sorted(constraint.clusters.names))
    return bundle
