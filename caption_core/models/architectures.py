"""The encoders that can be built, by name. No TensorFlow here: a job checks its arguments before it is imported.

A further encoder of `tf_keras.applications` takes an entry in `ENCODERS`; the tests go over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caption_core.errors import UsageError

Colours = float | tuple[float, float, float]
"""One number for all colours, or one each for red, green and blue."""

IMAGENET_WEIGHTS = "imagenet"
"""Names the weights that Keras downloads, where a path is taken otherwise."""

_SMALLEST_SIDE, _LARGEST_SIDE = 32, 1024  # px; below, nothing is left of an image after five halvings


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Where one kind of features is taken.

    Attributes:
        layer: the layer whose output they are; None is the application's last.
        head: the layer belongs to the classifier on top, which ties the image size to that of its weights.
        pooled: the layer's grid is averaged into one vector.
    """

    layer: str | None = None
    head: bool = False
    pooled: bool = False


_CONVOLUTIONAL = {"grid": FeatureSource(), "global": FeatureSource(pooled=True)}


@dataclass(frozen=True, slots=True)
class EncoderArchitecture:
    """What the system must know of an encoder.

    Attributes:
        application: name of the Keras application that builds it.
        scale, offset: RGB pixels of 0 to 255 become `pixel * scale + offset`; part of the exported graph.
        blocks: where fine-tuning may begin, from the image on: each is the start of a layer's name, and what precedes
            the first such layer stays frozen.
        features: kinds of features by name.
        image_size: (height, width) in pixels that the ImageNet weights were trained on.
        widths: width multipliers that there are ImageNet weights for; empty where the width is fixed.
        options: further arguments of the application.
        first_layer: where the application's own preprocessing ends, if it can't be left out otherwise.
        bgr_layer: first convolution, where the application's weights expect blue, green, red.
    """

    application: str
    scale: Colours
    offset: Colours
    blocks: tuple[str, ...]
    features: Mapping[str, FeatureSource] = field(default_factory=lambda: _CONVOLUTIONAL)
    image_size: tuple[int, int] = (224, 224)
    widths: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    first_layer: str | None = None
    bgr_layer: str | None = None


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, of pixels in [0, 1]

# -1 to 1.
_SYMMETRIC: dict[str, Any] = {"scale": 1 / 127.5, "offset": -1.0}
# Mean zero and deviation one.
_STANDARDIZED: dict[str, Any] = {
    "scale": (1 / (255 * _DEVIATION[0]), 1 / (255 * _DEVIATION[1]), 1 / (255 * _DEVIATION[2])),
    "offset": (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
}
# Mean zero, as Caffe had it.
_CENTRED: dict[str, Any] = {"scale": 1.0, "offset": (-123.68, -116.779, -103.939)}


def _numbered(template: str, *numbers: int) -> tuple[str, ...]:
    return tuple(template.format(number) for number in numbers)


ENCODERS = {
    # Simonyan and Zisserman 2015, arXiv 1409.1556. The grid is the one that Show, Attend and Tell looks at (arXiv
    # 1502.03044), the vector the one that merge decoders start from (arXiv 2012.09708).
    "vgg16": EncoderArchitecture(
        "VGG16",
        **_CENTRED,
        features={"grid": FeatureSource("block5_conv3"), "global": FeatureSource("fc2", head=True)},
        blocks=_numbered("block{}", *range(1, 6)),
        bgr_layer="block1_conv1",
    ),
    # He et al. 2016, arXiv 1512.03385.
    "resnet50": EncoderArchitecture(
        "ResNet50",
        **_CENTRED,
        blocks=(
            *_numbered("conv2_block{}", *range(1, 4)),
            *_numbered("conv3_block{}", *range(1, 5)),
            *_numbered("conv4_block{}", *range(1, 7)),
            *_numbered("conv5_block{}", *range(1, 4)),
        ),
        bgr_layer="conv1_conv",
    ),
    # Sandler et al. 2018, arXiv 1801.04381.
    "mobilenet_v2": EncoderArchitecture(
        "MobileNetV2",
        **_SYMMETRIC,
        blocks=(*_numbered("block_{}", *range(1, 17)), "Conv_1"),
        widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    ),
    # Howard et al. 2019, arXiv 1905.02244.
    "mobilenet_v3_large": EncoderArchitecture(
        "MobileNetV3Large",
        **_SYMMETRIC,
        blocks=(*_numbered("expanded_conv_{}", *range(1, 15)), "Conv_1"),
        widths=(0.75, 1.0),
        options={"include_preprocessing": False},
    ),
    "mobilenet_v3_small": EncoderArchitecture(
        "MobileNetV3Small",
        **_SYMMETRIC,
        blocks=(*_numbered("expanded_conv_{}", *range(1, 11)), "Conv_1"),
        widths=(0.75, 1.0),
        options={"include_preprocessing": False},
    ),
    # Tan and Le 2019, arXiv 1905.11946.
    "efficientnet_b0": EncoderArchitecture(
        "EfficientNetB0",
        **_STANDARDIZED,
        blocks=(
            *("block1a", "block2a", "block2b", "block3a", "block3b", "block4a", "block4b", "block4c"),
            *("block5a", "block5b", "block5c", "block6a", "block6b", "block6c", "block6d", "block7a", "top"),
        ),
        first_layer="stem_conv_pad",
    ),
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which encoder to build.

    Attributes:
        name: one of `ENCODERS`.
        features: 'grid', a vector a place of the image, or 'global', a single one.
        width: multiplier of the layers' channels.
        image_size: (height, width) in pixels; None is the architecture's own.
    """

    name: str = "mobilenet_v2"
    features: str = "grid"
    width: float = 1.0
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.name not in ENCODERS:
            raise UsageError(f"unknown encoder {self.name!r}; known: {', '.join(sorted(ENCODERS))}")
        if self.features not in self.architecture.features:
            kinds = ", ".join(sorted(self.architecture.features))
            raise UsageError(f"encoder {self.name} has no {self.features!r} features; it has: {kinds}")
        if not 0.1 <= self.width <= 4:
            raise UsageError(f"encoder width must lie between 0.1 and 4, not {self.width}")
        if self.width != 1 and not self.architecture.widths:
            raise UsageError(f"encoder {self.name} comes in width 1 only, not {self.width}")
        if not all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in self.size):
            limits = f"between {_SMALLEST_SIDE} and {_LARGEST_SIDE} pixels"
            raise UsageError(f"encoder image sides must lie {limits}, not {self.size[0]} x {self.size[1]}")

    @property
    def architecture(self) -> EncoderArchitecture:
        """What is known of this encoder."""
        return ENCODERS[self.name]

    @property
    def source(self) -> FeatureSource:
        """Where its features are taken."""
        return self.architecture.features[self.features]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its images in pixels."""
        return self.image_size or self.architecture.image_size


def check_encoder(config: EncoderConfig, weights: str | None) -> None:
    """See to it that an encoder's weights can fit it and, where they are a file, exist.

    Raises:
        UsageError: they don't.
    """
    architecture = config.architecture
    if weights not in (None, IMAGENET_WEIGHTS) and not Path(str(weights)).is_file():
        raise UsageError(f"encoder weights {weights}: no such file (a path, or '{IMAGENET_WEIGHTS}' to download them)")
    if weights == IMAGENET_WEIGHTS and architecture.widths and config.width not in architecture.widths:
        widths = ", ".join(map(str, architecture.widths))
        raise UsageError(f"there are no ImageNet weights of {config.name} in width {config.width}; there are: {widths}")
    if weights is not None and config.source.head and config.size != architecture.image_size:
        height, width = architecture.image_size
        raise UsageError(f"{config.features} features of {config.name} take images of {height} x {width} only")


def check_block(name: str, block: str | None) -> None:
    """See to it that an encoder may be trained from `block`.

    Raises:
        UsageError: it has no such block; the message lists those that there are.
    """
    blocks = ENCODERS[name].blocks
    if block is not None and block not in blocks:
        raise UsageError(f"encoder {name} has no block {block!r} to train from; it has: {', '.join(blocks)}")


def first_layer_of(block: str, layers: list[str]) -> str:
    """The first of `layers`, by name, that belongs to a block (or is itself called so)."""
    return next(layer for layer in layers if layer == block or layer.startswith((f"{block}_", f"{block}/")))
