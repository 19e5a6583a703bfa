"""Equal constants of a LiteRT graph stored once, as for a word embedding that is tied to the output layer."""

from __future__ import annotations

from tensorflow.lite.tools import flatbuffer_utils

_MIN_BYTES = 1024  # smaller constants are not worth a shared buffer


def share_equal_buffers(graph: bytes) -> bytes:
    """Let tensors of equal bytes point to one buffer; what the graph computes does not change."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    owners: dict[bytes, int] = {}
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) < _MIN_BYTES:
            continue
        owner = owners.setdefault(bytes(data), tensor.buffer)
        if owner != tensor.buffer:
            model.buffers[tensor.buffer].data = None
            tensor.buffer = owner
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
