"""Builds a small data set of synthetic photographs, and captioners trained on it within seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caption_core.training.config import DataConfig, DecoderChoice, OptimizationConfig, StageConfig, TrainConfig

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 60, 220),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
    "yellow": (240, 220, 30),
}
PATTERNS = ("plain wall", "striped flag")
SIZE = (224, 224)


def paint(colour: str, pattern: str) -> NDArray[np.uint8]:
    """One synthetic photograph, uint8 [224, 224, 3]."""
    pixels = np.full((*SIZE, 3), COLOURS[colour], np.uint8)
    if pattern == "striped flag":
        pixels[(np.arange(SIZE[0]) // 16) % 2 == 0] = (128, 128, 128)
    return pixels


@dataclass(frozen=True)
class SyntheticSet:
    """Where the data set is: images, captions and splits, in the original Flickr8k form."""

    folder: Path

    def data_config(self, **changes: Any) -> DataConfig:
        """The data part of a training configuration."""
        return DataConfig(
            **{
                "images": self.folder / "images",
                "captions": (str(self.folder / "captions.token.txt"),),
                "train_split": str(self.folder / "train.txt"),
                "dev_split": str(self.folder / "train.txt"),
                "cache": self.folder / "cache",
                "min_word_count": 1,
                "max_tokens": 8,
                "views": 1,
                **changes,
            }
        )


def write_synthetic_set(folder: Path) -> SyntheticSet:
    """Write twelve images with two captions each."""
    (folder / "images").mkdir(parents=True)
    lines, names = [], []
    for colour in COLOURS:
        for pattern in PATTERNS:
            name = f"{colour}_{pattern.split()[0]}.png"
            Image.fromarray(paint(colour, pattern)).save(folder / "images" / name)
            lines += [f"{name}#0\tA {colour} {pattern} .", f"{name}#1\ta {colour} {pattern}"]
            names.append(name)
    (folder / "captions.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return SyntheticSet(folder)


def write_encoder_weights(data: SyntheticSet) -> Path:
    """Random MobileNetV2 weights whose batch norm fits the synthetic images, so that features tell them apart."""
    import tf_keras

    path = data.folder / "encoder.h5"
    if not path.exists():
        tf_keras.utils.set_random_seed(1)
        model = tf_keras.applications.MobileNetV2((*SIZE, 3), include_top=False, weights=None)
        for layer in model.layers:
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                layer.momentum = 0.0
        images = np.stack([paint(colour, pattern) for colour in COLOURS for pattern in PATTERNS])
        model(images / np.float32(127.5) - 1, training=True)
        model.save_weights(path)
    return path


@dataclass
class SoloPeers:
    """A run of one worker without Ray: keeps what it is handed."""

    rank: int = 0
    size: int = 1
    snapshots: list[Any] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def agree(self, value: Any) -> Any:
        """Its own value."""
        return value

    def report(self, metrics: dict[str, Any], snapshot: Any) -> None:
        """Keep both."""
        self.metrics.append(metrics)
        self.snapshots.append(snapshot)


def tiny_decoder(dropout: float = 0.0) -> DecoderChoice:
    """Soft attention of 32 units."""
    rates = dict.fromkeys(("feature_dropout", "embedding_dropout", "output_dropout"), dropout)
    sizes = {"units": 32, "embedding_units": 16, "value_units": 32, "attention_units": 16}
    return DecoderChoice("soft_attention", {**sizes, **rates})


def tiny_config(synthetic: SyntheticSet, output: Path, **changes: Any) -> TrainConfig:
    """A run small enough for a test: a random encoder, frozen, and a decoder of 32 units."""
    return TrainConfig(
        **{
            "data": synthetic.data_config(),
            "output": output,
            "stages": (StageConfig(epochs=100, learning_rate=0.01, warmup_steps=5),),
            "encoder_weights": str(write_encoder_weights(synthetic)),
            "decoder": tiny_decoder(),
            "optimization": OptimizationConfig(batch_images=4, label_smoothing=0.0, ema_decay=0.9),
            "name": "tiny",
            "trained_on": "synthetic images",
            **changes,
        }
    )


def _quiet(_: str) -> None:
    """Takes lines of progress to nowhere."""


def train_tiny(data: SyntheticSet, output: Path) -> Path:
    """Train on the synthetic set in this process; returns the float bundle's folder."""
    import tensorflow as tf

    from caption_core.training.baseline import write_baseline
    from caption_core.training.checkpoint import BEST_WEIGHTS
    from caption_core.training.data import load_data
    from caption_core.training.loop import TrainingLoop

    config = tiny_config(data, output)
    peers = SoloPeers()
    TrainingLoop(config, tf.distribute.get_strategy(), peers, log=_quiet).run()
    last = peers.snapshots[-1]
    snapshot = output / "snapshot"
    snapshot.mkdir()
    last.save(snapshot)
    vocabulary = load_data(config.data).vocabulary
    history = last.progress.history
    return write_baseline(config, vocabulary, snapshot / BEST_WEIGHTS, history, command="a test").folder
