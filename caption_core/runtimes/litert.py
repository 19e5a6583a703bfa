"""The LiteRT runtime: compressed bundles, on CPU, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import BundleError
from caption_core.search import State, Step

ENCODER, DECODER_START, DECODER_STEP = "encoder.tflite", "decoder_start.tflite", "decoder_step.tflite"

# The encoder runs this many images at a time: a convolution net gains nothing from more, and its memory stays small.
_ENCODER_BATCH = 8

_NEXT = "next_"  # before a state's name: its value after the step

Arrays = dict[str, NDArray[np.float32]]


class LiteRTRuntime:
    """Runs a compressed bundle (see `Runtime`). Not thread-safe.

    Args:
        bundle: a bundle of the 'litert' kind.
        threads: threads of an interpreter.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        self._encoder = _Graph(bundle.path(ENCODER), threads)
        self._decoder = LiteRTDecoder(bundle.path(DECODER_START), bundle.path(DECODER_STEP), threads=threads)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.encode`."""
        chunks = [images[i : i + _ENCODER_BATCH] for i in range(0, len(images), _ENCODER_BATCH)]
        return np.concatenate([self._encoder(pixels=chunk)["features"] for chunk in chunks])

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """See `Runtime.start`."""
        return self._decoder.start(features)


class LiteRTDecoder:
    """A decoder's two graphs, whatever its state is: their names tell.

    An output `next_x` of the step is the next value of its input `x`, a part of the state; what else the start gives
    is the image's memory, which the step takes unchanged.

    Args:
        start, step: files of the graphs.
        threads: threads of an interpreter.
    """

    def __init__(self, start: Path, step: Path, *, threads: int) -> None:
        self._start, self._step = _Graph(start, threads), _Graph(step, threads)
        self._state = sorted(name.removeprefix(_NEXT) for name in self._step.outputs if name.startswith(_NEXT))
        if not self._state or not {*self._state, "tokens"} <= self._step.inputs:
            raise BundleError(f"{step}: not a decoder's step: its state is not named")

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """See `Runtime.start`."""
        first = self._start(features=features)
        memory = {name: array for name, array in first.items() if name not in self._state}

        def step(tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            out = self._step(tokens=tokens, **dict(zip(self._state, state, strict=True)), **memory)
            return out["logits"], tuple(out[_NEXT + name] for name in self._state)

        return tuple(first[name] for name in self._state), step


class _Graph:
    """One LiteRT graph with named inputs and outputs; follows its inputs' batch sizes."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            runner = self._interpreter.get_signature_runner("serving_default")
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{path}: not a LiteRT graph of a captioner: {error}") from error
        self._inputs = {name: detail["index"] for name, detail in runner.get_input_details().items()}
        self._outputs = {name: detail["index"] for name, detail in runner.get_output_details().items()}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def inputs(self) -> set[str]:
        """Their names."""
        return set(self._inputs)

    @property
    def outputs(self) -> set[str]:
        """Their names."""
        return set(self._outputs)

    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        shapes = {name: array.shape for name, array in inputs.items()}
        if shapes != self._shapes:
            self._resize(shapes)
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._inputs[name], np.ascontiguousarray(array))
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _resize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._inputs[name], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes
