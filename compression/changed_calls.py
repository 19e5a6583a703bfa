"""Methods of layers with something before or after them, while a function is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Change = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, slots=True)
class ChangedCall:
    """A method of one tensor to one tensor that is changed.

    Attributes:
        owner: a layer or the decoder.
        method: its name, e.g. `call`.
        before, after: change what it is given, and what it gives.
    """

    owner: Any
    method: str
    before: Change = tf.identity
    after: Change = tf.identity

    def __call__(self, values: tf.Tensor, *arguments: Any, **options: Any) -> tf.Tensor:
        """What the owner then has in the method's place."""
        method = getattr(type(self.owner), self.method)
        return self.after(method(self.owner, self.before(values), *arguments, **options))


@contextmanager
def changed_calls(calls: Sequence[ChangedCall]) -> Iterator[None]:
    """Change methods; graphs that are traced meanwhile have the changes. A method's changes act one after the other."""
    nested: dict[tuple[int, str], ChangedCall] = {}
    for call in calls:
        key = (id(call.owner), call.method)
        nested[key] = call if key not in nested else _both(nested[key], call)
    # Past Keras' own __setattr__, which would track the change as a part of the model.
    for call in nested.values():
        call.owner.__dict__[call.method] = call
    try:
        yield
    finally:
        for call in nested.values():
            del call.owner.__dict__[call.method]


def _both(first: ChangedCall, second: ChangedCall) -> ChangedCall:
    return ChangedCall(
        first.owner,
        first.method,
        before=lambda values: second.before(first.before(values)),
        after=lambda values: second.after(first.after(values)),
    )
