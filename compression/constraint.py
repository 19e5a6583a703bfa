"""What a step holds a model to while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from caption_core.models.tracing import as_graph
from compression.places import Place


class Constraint:
    """Holds a model to nothing; a technique overrides what it needs.

    The forward pass of an update reads `values` in place of the variables of `places`. Between updates `before_update`
    and `after_update` may change variables. What an epoch leaves is scored, and kept, as `materialized` shows it.

    Attributes:
        places: weight matrices that it holds.
        variables: what it trains itself, e.g. gates; `apply_gradients` updates them.
        state: all that updates change of it, from `begin` on; None if more changes than variables, so that a training
            that was interrupted begins anew.
    """

    places: Sequence[Place] = ()
    variables: Sequence[tf.Variable] = ()

    @property
    def state(self) -> Sequence[tf.Variable] | None:
        """See the class."""
        return ()

    def begin(self, updates: int) -> None:
        """Called before a training of so many updates; where it goes on, `state` is set to what was kept afterwards."""

    def values(self, seed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Weights that the forward pass reads, by place name; traced. `seed` int32 [2] is the update's."""
        del seed
        return {}

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Entered while an update's forward pass is traced: changes of what layers do, beside their weights."""
        yield

    def penalty(self) -> tf.Tensor:
        """What is added to the loss, a scalar; traced."""
        return tf.constant(0.0)

    def apply_gradients(self, gradients: Sequence[tf.Tensor]) -> None:
        """Update `variables`; traced."""
        del gradients

    def before_update(self, update: int, updates: int) -> None:
        """Called before update number `update` (from 0) of `updates`."""

    def after_update(self, update: int, updates: int) -> None:
        """Called after it."""

    def is_settled(self, share: float) -> bool:
        """Whether an epoch that ends at this share of all updates may be the one that is kept."""
        del share
        return True

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """The places' variables hold what would be kept of them, while this lasts."""
        yield

    def figures(self) -> dict[str, Any]:
        """What an epoch's log line says of it."""
        return {}


class FixedMasks(Constraint):
    """Keeps zeros: a weight that is zero when training begins is zero after each update.

    Args:
        places: whose zeros are kept.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        held = [place for place in places if bool((place.variable.numpy() == 0).any())]
        self._masks = [(place.variable, tf.Variable(place.variable.numpy() != 0, trainable=False)) for place in held]
        self._apply = as_graph(self._mask)

    @property
    def state(self) -> Sequence[tf.Variable]:
        """See `Constraint`: which weights were zero."""
        return [mask for _, mask in self._masks]

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        del update, updates
        if self._masks:
            self._apply()

    def _mask(self) -> None:
        for variable, mask in self._masks:
            # Not a product: it would leave negative zeros, which are stored as other bytes.
            variable.assign(tf.where(mask, variable, 0.0))
