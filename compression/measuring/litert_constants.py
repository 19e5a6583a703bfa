"""The weights among the constants of LiteRT graphs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.bundle import Bundle
from caption_core.errors import BundleError
from compression.measuring.stored_weights import StoredWeight
from compression.settings.fields import Part

_TYPE = schema.TensorType
_DTYPES: dict[int, Any] = {
    _TYPE.FLOAT32: np.float32,
    _TYPE.FLOAT16: np.float16,
    _TYPE.UINT8: np.uint8,
    _TYPE.INT8: np.int8,
    _TYPE.INT16: np.int16,
    _TYPE.INT32: np.int32,
    _TYPE.INT64: np.int64,
}
_PACKED_BITS: dict[int, int] = {_TYPE.INT4: 4, _TYPE.INT2: 2}
# Shapes, axes and indices have these types too; a bias has a scale.
_INDEX_TYPES = frozenset((_TYPE.INT32, _TYPE.INT64))

# What the converter calls a layer's product, after the layer's name, and the weight's name in float bundles. It numbers
# those that are made of one and the same, and joins the names of what it fuses by semicolons.
_PRODUCT = re.compile(
    r"(?P<layer>.+?)(?:/Tensordot)?/(?P<product>Conv2D|depthwise|MatMul|BiasAdd)\d*(?:/ReadVariableOp.*)?"
)
_WEIGHT_NAMES = {"Conv2D": "kernel", "depthwise": "depthwise_kernel", "MatMul": "kernel"}


@dataclass(frozen=True, slots=True)
class _Constant:
    """A buffer's content with all tensors of its graph that show it."""

    data: bytes
    tensors: tuple[Any, ...]
    is_gathered: bool

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.tensors[0].shape
        return () if shape is None else tuple(map(int, shape))


def litert_weights(bundle: Bundle, part: Part, files: Sequence[str]) -> list[StoredWeight]:
    """A part's weights in its graphs.

    Weights are constants of more than one element, float or integer; of int32 and int64 those that have a scale, which
    are biases. Tensors that share a buffer are one weight, and so are matrices of equal content in two of the graphs.
    A gathered table of one column is a quantized embedding's scales, no weight.

    Raises:
        BundleError: a file is no LiteRT graph, or holds weights of an unknown type.
    """
    found: dict[Any, StoredWeight] = {}
    for file in files:
        for number, constant in enumerate(_constants(bundle, file)):
            if _is_weight(constant):
                weight = _weight(bundle, part, constant)
                found.setdefault(constant.data if weight.is_matrix else (file, number), weight)
    return list(_with_own_names(found.values()))


def _constants(bundle: Bundle, file: str) -> Iterator[_Constant]:
    try:
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(bundle.read(file)))
    except Exception as error:
        # The reader checks nothing: bytes that are no graph raise whatever it trips over.
        raise BundleError(f"{bundle.folder}: {file}: not a LiteRT graph: {error}") from error
    for graph in model.subgraphs or ():
        gathered = {int(op.inputs[0]) for op in graph.operators or () if _is_gather(model, op)}
        sharing: dict[int, list[int]] = {}
        for index, tensor in enumerate(graph.tensors):
            if model.buffers[tensor.buffer].data is not None:
                sharing.setdefault(tensor.buffer, []).append(index)
        for buffer, indices in sharing.items():
            tensors = tuple(graph.tensors[index] for index in indices)
            yield _Constant(bytes(model.buffers[buffer].data), tensors, bool(gathered.intersection(indices)))


def _is_gather(model: Any, operator: Any) -> bool:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.GATHER


def _is_weight(constant: _Constant) -> bool:
    tensor, shape = constant.tensors[0], constant.shape
    if math.prod(shape) < 2 or tensor.type in (_TYPE.BOOL, _TYPE.STRING):
        return False
    if constant.is_gathered and len(shape) == 2 and shape[1] == 1:
        return False
    return tensor.type not in _INDEX_TYPES or any(_scales(other) for other in constant.tensors)


def _scales(tensor: Any) -> int:
    return 0 if tensor.quantization is None or tensor.quantization.scale is None else len(tensor.quantization.scale)


def _weight(bundle: Bundle, part: Part, constant: _Constant) -> StoredWeight:
    elements = math.prod(constant.shape)
    values = _values(bundle, constant, elements) - _zero_point(constant)
    if values.size == elements:  # not so where a sparse tensor stores blocks
        values = values.reshape(constant.shape)
    model = bundle.manifest.encoder.name if part == "encoder" else part
    return StoredWeight(f"{part}/{_name(constant, model)}", part, values, elements)


def _values(bundle: Bundle, constant: _Constant, elements: int) -> NDArray[Any]:
    kind = constant.tensors[0].type
    if kind in _PACKED_BITS:
        return _unpack(np.frombuffer(constant.data, np.uint8), _PACKED_BITS[kind])[:elements]
    if kind not in _DTYPES:
        raise BundleError(f"{bundle.folder}: {constant.tensors[0].name.decode()}: weights of unknown type {kind}")
    return np.frombuffer(constant.data, _DTYPES[kind])


def _unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Signed integers of `bits` bits, the lowest bits of a byte first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = (packed[:, None] >> shifts) & ((1 << bits) - 1)
    signed = fields.astype(np.int8)
    signed[signed >= 1 << (bits - 1)] -= 1 << bits
    return signed.reshape(-1)


def _zero_point(constant: _Constant) -> Any:
    """The integer that stands for zero; weights with a scale a channel have 0."""
    quantization = next((tensor.quantization for tensor in constant.tensors if _scales(tensor) == 1), None)
    if quantization is None or quantization.zeroPoint is None or not len(quantization.zeroPoint):
        return 0
    # Wider than the weights: a difference of two 8-bit integers takes nine bits.
    return np.int16(quantization.zeroPoint[0]) if quantization.zeroPoint[0] else 0


def _name(constant: _Constant, model: str) -> str:
    """The weight's name in float bundles, as far as the graph's own names tell; they begin with the model's."""
    if constant.is_gathered and len(constant.shape) == 2:
        return "embedding"
    names = [tensor.name.decode() for tensor in constant.tensors]
    found = (_PRODUCT.fullmatch(one) for name in names for one in name.split(";"))
    match = next((match for match in found if match), None)
    if match is None:
        return names[0]
    _, is_named, layer = match["layer"].rpartition(f"{model}/")
    if not is_named:
        layer = layer.rpartition("/")[2]
    return f"{layer}/{_WEIGHT_NAMES.get(match['product'], 'bias') if len(constant.shape) > 1 else 'bias'}"


def _with_own_names(weights: Iterable[StoredWeight]) -> Iterator[StoredWeight]:
    """Number the weights that have a name of an earlier one."""
    taken: dict[str, int] = {}
    for weight in weights:
        count = taken[weight.name] = taken.get(weight.name, 0) + 1
        name = weight.name if count == 1 else f"{weight.name} ({count})"
        yield StoredWeight(name, weight.part, weight.values, weight.elements)
