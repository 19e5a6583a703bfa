"""Weights as named NumPy arrays in safetensors files: no pickles, no code, one name a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from caption_core.bundle import Bundle
from caption_core.errors import BundleError

WEIGHTS = "weights.safetensors"
"""Name of the weights file in a float bundle."""

Weights = dict[str, NDArray[np.float32]]


def named_weights(prefix: str, model: tf_keras.Model) -> Weights:
    """All weights of a model by name, `prefix/layer/weight`."""
    return {name: variable.numpy() for name, variable in _variables(prefix, model).items()}


def assign_weights(prefix: str, model: tf_keras.Model, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Set every weight of a model from `prefix/...` entries; other entries are ignored.

    Raises:
        BundleError: a weight is missing or has another shape.
    """
    for name, variable in _variables(prefix, model).items():
        if name not in weights:
            raise BundleError(f"weights: {name} is missing")
        if weights[name].shape != tuple(variable.shape):
            raise BundleError(f"weights: {name} has shape {weights[name].shape}, not {tuple(variable.shape)}")
        variable.assign(weights[name])


def save_weights(weights: Weights, path: Path) -> None:
    """Write a safetensors file."""
    path.write_bytes(weights_bytes(weights))


def weights_bytes(weights: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file, with texts by name beside the arrays."""
    # Not np.ascontiguousarray: it would turn a scalar into a vector.
    return save({name: np.asarray(array, order="C") for name, array in weights.items()}, metadata)


def load_weights(path: Path) -> Weights:
    """Read a safetensors file.

    Raises:
        BundleError: the file is missing or is not safetensors.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: not a weights file: {error}") from error


def bundle_weights(bundle: Bundle) -> Weights:
    """Read a float bundle's weights, compressed or not.

    Raises:
        BundleError: the bundle holds none, or they can't be read.
    """
    if not bundle.is_compressed(WEIGHTS):
        return load_weights(bundle.path(WEIGHTS))
    try:
        return load(bundle.read(WEIGHTS))
    except SafetensorError as error:
        raise BundleError(f"{bundle.folder}: {WEIGHTS}: not a weights file: {error}") from error


def _variables(prefix: str, model: tf_keras.Model) -> dict[str, tf_keras.backend.tf.Variable]:
    named = {}
    for layer in model.layers or [model]:
        for variable in layer.weights:
            # Keras may or may not put the layer's name in front of the weight's.
            leaf = variable.name.split("/")[-1].split(":")[0]
            named[f"{prefix}/{layer.name}/{leaf}"] = variable
    for variable in model.weights:
        if not any(variable is known for known in named.values()):
            named[f"{prefix}/{variable.name.split('/')[-1].split(':')[0]}"] = variable
    return named
