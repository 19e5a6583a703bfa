"""Layers of a quantized LiteRT graph that stay in float, found by what the converter calls their products."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from compression.places import quantized_places
from compression.settings.fields import PARTS, Part
from compression.settings.quantization import WHOLE, Format

EMBEDDING = "decoder/embedding"

_OPERATOR = schema.BuiltinOperator
# Operations with weights, and which of their inputs these are.
_WEIGHTS_INPUT = {
    _OPERATOR.FULLY_CONNECTED: 1,
    _OPERATOR.CONV_2D: 1,
    _OPERATOR.DEPTHWISE_CONV_2D: 1,
    _OPERATOR.GATHER: 0,
}


@dataclass(frozen=True, slots=True)
class KeptFloat:
    """Layers that stay in float.

    Attributes:
        layers: their names.
        table: float32 [V, embedding_units], the word embedding, where the output layer that is tied to it stays too.
    """

    layers: tuple[str, ...] = ()
    table: NDArray[np.float32] | None = None

    def __bool__(self) -> bool:
        return bool(self.layers) or self.table is not None

    def nodes(self, graph: bytes) -> list[str]:
        """Names of the outputs of these layers' operations in a graph whose weights are float32."""
        model = _read(graph)
        return [_name(model, use.operator.outputs[0]) for use in _uses(model) if self._holds(model, use)]

    def restore(self, quantized: bytes, in_float: bytes) -> bytes:
        """A graph of quantized weights and float activations, with these layers as they are in the float graph.

        Args:
            quantized, in_float: both formats of one graph, which have the same layers in the same order.
        """
        model, original = _read(quantized), _read(in_float)
        for use, source in list(zip(_uses(model), _uses(original), strict=True)):
            if self._holds(original, source):
                _take_weights(model, use, original, source)
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))

    def _holds(self, model: Any, use: _Use) -> bool:
        names = f"{_name(model, use.operator.outputs[0])};{_name(model, use.weights)}"
        if any(re.search(rf"(^|;)([^/;]+/)?{re.escape(layer)}/", names) for layer in self.layers):  # behind the model's
            return not use.is_gather
        data = model.buffers[_tensor(model, use.weights).buffer].data
        return self.table is not None and data is not None and bytes(data) == self.table.tobytes()


@dataclass(frozen=True, slots=True)
class _Use:
    """An operation, and the tensor of its weights."""

    operator: Any
    weights: int
    is_gather: bool


NOTHING_KEPT = KeptFloat()


def kept_float(model: CaptioningModel, texts: Sequence[str]) -> dict[Part, KeptFloat]:
    """Layers with one of the texts in their weights' names, a part.

    Raises:
        UsageError: a text is in no name.
    """
    names = _names(model)
    for text in texts:
        if not _parts_with(text, names):
            raise UsageError(f"keep_float: no weight matrix has {text!r} in its name")
    return {part: _kept(model, [n for n in found if any(t in n for t in texts)]) for part, found in names.items()}


def check_formats(model: CaptioningModel, texts: Sequence[str], formats: Mapping[Part, Format]) -> None:
    """See to it that the layers which `kept_float` chooses can stay in float, and wouldn't do so by themselves.

    Raises:
        UsageError: a text chooses layers of a part whose format keeps none, or none but layers of a part in float32.
    """
    names = _names(model)
    for text in texts:
        chosen = {part: formats[part] for part in _parts_with(text, names)}
        for part, one in chosen.items():
            if one in WHOLE:
                raise UsageError(f"{no_float_beside(one)}, which the {part}'s layers of {text!r} are given")
        if chosen and set(chosen.values()) == {"float32"}:
            raise UsageError(f"keep_float: {text!r} are layers of the {' and '.join(chosen)}, all of it in float32")


def no_float_beside(chosen: Format) -> str:
    """Why layers can't stay in float beside others in one of the formats that take all."""
    return f"keep_float: LiteRT's converter can't keep layers in float in format {chosen}"


def _names(model: CaptioningModel) -> dict[Part, list[str]]:
    return {part: [place.name for place in quantized_places(model, part)] for part in PARTS}


def _parts_with(text: str, names: Mapping[Part, Sequence[str]]) -> list[Part]:
    return [part for part, found in names.items() if any(text in name for name in found)]


def _kept(model: CaptioningModel, names: Sequence[str]) -> KeptFloat:
    layers = tuple(name.partition("/")[2].rpartition("/")[0] for name in names if name != EMBEDDING)
    return KeptFloat(layers, model.decoder.embedding.numpy() if EMBEDDING in names else None)


def _read(graph: bytes) -> Any:
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))


def _uses(model: Any) -> Iterator[_Use]:
    for operator in model.subgraphs[0].operators:
        code = _code(model, operator)
        if code in _WEIGHTS_INPUT:
            yield _Use(operator, operator.inputs[_WEIGHTS_INPUT[code]], code == _OPERATOR.GATHER)


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _tensor(model: Any, index: int) -> Any:
    return model.subgraphs[0].tensors[index]


def _name(model: Any, tensor: int) -> str:
    return str(_tensor(model, tensor).name.decode())


def _take_weights(model: Any, use: _Use, original: Any, source: _Use) -> None:
    weights, theirs = _tensor(model, use.weights), _tensor(original, source.weights)
    if weights.type == theirs.type:  # too small for the converter to quantize it
        return
    # A buffer of its own: another tensor may share the integers.
    buffer = schema.BufferT()
    buffer.data = original.buffers[theirs.buffer].data
    model.buffers.append(buffer)
    weights.buffer, weights.type, weights.quantization = len(model.buffers) - 1, theirs.type, None
    if use.is_gather:
        _skip_dequantization(model, use.operator)
    elif hasattr(use.operator.builtinOptions, "asymmetricQuantizeInputs"):
        use.operator.builtinOptions.asymmetricQuantizeInputs = False


def _skip_dequantization(model: Any, gather: Any) -> None:
    """Let a gather give at once what was made of its integers."""
    operators = model.subgraphs[0].operators
    (following,) = [operator for operator in operators if gather.outputs[0] in operator.inputs]
    gather.outputs = following.outputs
    operators.remove(following)
