"""The LiteRT runtime: compressed bundles, on CPU, without TensorFlow."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import BundleError
from caption_core.search import Images, State, Step

ENCODER, DECODER_START, DECODER_STEP = "encoder.tflite", "decoder_start.tflite", "decoder_step.tflite"

# The encoder runs this many images at a time: a convolution net gains nothing from more, and its memory stays small.
_ENCODER_BATCH = 8

_SIGN_BIT = np.uint8(128)

_NEXT = "next_"  # before a state's name: its value after the step

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Held:
    """Inputs that stay the same over many runs of a graph, which LiteRT keeps: no tensor is planned over an input."""

    arrays: Arrays


_NOTHING = _Held({})


class GraphFile(NamedTuple):
    """A LiteRT graph.

    Attributes:
        path: where it is, and how errors call it.
        content: what it holds where that isn't simply the file's bytes, which are mapped rather than read.
    """

    path: Path
    content: bytes | None = None

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> GraphFile:
        """One of a bundle's graphs, compressed or not."""
        return cls(bundle.folder / name, bundle.read(name)) if bundle.is_compressed(name) else cls(bundle.path(name))


class LiteRTRuntime:
    """Runs a compressed bundle (see `Runtime`). Not thread-safe.

    Args:
        bundle: a bundle of the 'litert' kind.
        threads: threads of an interpreter.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        encoder, start, step = (GraphFile.of(bundle, name) for name in (ENCODER, DECODER_START, DECODER_STEP))
        self._encoder = LiteRTEncoder(encoder, threads=threads)
        self._decoder = LiteRTDecoder(start, step, threads=threads)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.encode`."""
        return self._encoder.encode(images)

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """See `Runtime.start`."""
        return self._decoder.start(features)


class LiteRTEncoder:
    """An encoder's graph: `pixels` of uint8, or of int8, which is levels less 128, to `features`.

    Args:
        graph: it.
        threads: threads of the interpreter.
    """

    def __init__(self, graph: GraphFile, *, threads: int) -> None:
        self._graph = _Graph(graph, threads)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.encode`."""
        chunks = [images[i : i + _ENCODER_BATCH] for i in range(0, len(images), _ENCODER_BATCH)]
        return np.concatenate([self._graph({"pixels": self._levels(chunk)})["features"] for chunk in chunks])

    def _levels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.int8]:
        # LiteRT's own operation from uint8 to int8 takes as long as a layer.
        return (images ^ _SIGN_BIT).view(np.int8) if self._graph.inputs["pixels"] == np.int8 else images


class LiteRTDecoder:
    """A decoder's two graphs, whatever its state is: their names tell.

    An output `next_x` of the step is the next value of its input `x`, a part of the state; what else the start gives
    is the image's memory, which the step takes unchanged.

    Args:
        start, step: the graphs.
        threads: threads of an interpreter.
    """

    def __init__(self, start: GraphFile, step: GraphFile, *, threads: int) -> None:
        self._start, self._step = _Graph(start, threads), _Graph(step, threads)
        self._state = sorted(name.removeprefix(_NEXT) for name in self._step.outputs if name.startswith(_NEXT))
        if not self._state or not {*self._state, "tokens"} <= self._step.inputs.keys():
            raise BundleError(f"{step.path}: not a decoder's step: its state is not named")

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """See `Runtime.start`."""
        first = self._start({"features": features})
        memory = {name: array for name, array in first.items() if name not in self._state}
        state = tuple(first[name] for name in self._state)
        return state, _Step(self._step, self._state, _Held(memory))


@dataclass(frozen=True)
class _Step:
    """A decoder's step over a batch of images (see `Step`); many of one graph may be used in turn."""

    graph: _Graph
    state: list[str]
    memory: _Held

    def __call__(self, tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        out = self.graph({"tokens": tokens, **dict(zip(self.state, state, strict=True))}, self.memory)
        return out["logits"], tuple(out[_NEXT + name] for name in self.state)

    def of(self, images: Images) -> _Step:
        """See `Step.of`."""
        return replace(self, memory=_Held({name: array[images] for name, array in self.memory.arrays.items()}))


class _Graph:
    """One LiteRT graph with named inputs and outputs; follows its inputs' batch sizes.

    Attributes:
        inputs: their types by name.
    """

    def __init__(self, file: GraphFile, threads: int) -> None:
        source = {"model_content": file.content} if file.content is not None else {"model_path": str(file.path)}
        try:
            self._interpreter = Interpreter(**source, num_threads=threads)
            runner = self._interpreter.get_signature_runner("serving_default")
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{file.path}: not a LiteRT graph of a captioner: {error}") from error
        self.inputs: dict[str, type[np.generic]] = {}
        self._inputs: dict[str, int] = {}
        for name, detail in runner.get_input_details().items():
            self.inputs[name], self._inputs[name] = detail["dtype"], detail["index"]
        self._outputs = {name: detail["index"] for name, detail in runner.get_output_details().items()}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._held: weakref.ref[_Held] | None = None

    @property
    def outputs(self) -> set[str]:
        """Their names."""
        return set(self._outputs)

    def __call__(self, inputs: Mapping[str, NDArray[Any]], held: _Held = _NOTHING) -> Arrays:
        """Run it.

        Args:
            inputs: arrays by name.
            held: the other inputs; copied into the graph only if its last run had others, or other shapes.
        """
        shapes = {name: array.shape for name, array in (*inputs.items(), *held.arrays.items())}
        if shapes != self._shapes:
            self._resize(shapes)
        if self._held is None or self._held() is not held:
            self._set(held.arrays)
            self._held = weakref.ref(held)
        self._set(inputs)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _set(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._inputs[name], np.ascontiguousarray(array))

    def _resize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._inputs[name], shape)
        self._interpreter.allocate_tensors()
        self._shapes, self._held = shapes, None
