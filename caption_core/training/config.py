"""What a training run is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig, check_block
from caption_core.models.decoder_configs import DecoderConfig
from caption_core.models.decoder_registry import check_features, decoder_config

TRAINING_PRECISIONS = ("float32", "bfloat16")

# What a stage may learn from, and the dev score that its epochs are chosen by.
METRICS = {"concepts": "concept_mAP", "references": "CIDEr-D", "self_critical": "CIDEr-D"}


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage: how long, how fast, and how much of the encoder trains along.

    Attributes:
        epochs: passes over the training images.
        learning_rate: Adam's peak rate, reached after `warmup_steps`; a cosine takes it to zero at the stage's end.
        train_encoder_from: the encoder's first block that trains, or a layer in it; None freezes the whole encoder.
        objective: what it learns from: `references`, their likelihood; `self_critical`, the CIDEr-D of the model's own
            captions; `concepts`, the words of an image's references as its labels, which trains the encoder alone.
        patience: the stage ends after so many epochs in a row without an improvement on the dev split; None never
            ends it early.
        min_improvement: rise of the objective's dev score, since the last that counted, that counts as one.
    """

    epochs: int
    learning_rate: float
    train_encoder_from: str | None = None
    warmup_steps: int = 100
    objective: str = "references"
    patience: int | None = None
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"learning rate must lie in (0, 1], not {self.learning_rate}")
        if self.warmup_steps < 0:
            raise UsageError(f"warm-up steps must not be negative, not {self.warmup_steps}")
        if self.objective not in METRICS:
            raise UsageError(f"objective must be one of {', '.join(METRICS)}, not {self.objective!r}")
        if self.objective == "concepts" and self.train_encoder_from is None:
            raise UsageError("concepts train the encoder: name the block to train it from")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience must be at least 1 epoch, not {self.patience}")
        if self.min_improvement < 0:
            raise UsageError(f"minimum improvement must not be negative, not {self.min_improvement}")

    @property
    def metric(self) -> str:
        """The dev score that its epochs are chosen by."""
        return METRICS[self.objective]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where images, captions and splits are; paths must be readable on every node that trains.

    Attributes:
        images: folder of the images, or of folders of them.
        captions: files of captions, in any form of `metrics.reference_files.ReferenceForm`.
        train_split, dev_split: files of image names, or splits that `splits` names, as in `train+restval`.
        splits: file that names each image's split; None for the first file of captions.
        skip_missing: leave out images without caption or file in place of refusing the split.
        cache: folder of cached encoder activations.
        min_word_count: rarer words become the unknown token.
        max_tokens: longest caption in words; longer ones are cut.
        views: in how many ways a training image is seen (see `features.view_of`).
        limit_images: train and select on the first images of each split only.
    """

    images: Path
    captions: tuple[str, ...]
    train_split: str
    dev_split: str
    cache: Path
    splits: str | None = None
    skip_missing: bool = False
    min_word_count: int = 5
    max_tokens: int = 20
    views: int = 2
    limit_images: int | None = None

    def __post_init__(self) -> None:
        if not self.captions:
            raise UsageError("at least one file of captions is needed")
        if self.min_word_count < 1:
            raise UsageError(f"min word count must be at least 1, not {self.min_word_count}")
        if not 1 <= self.max_tokens <= 200:
            raise UsageError(f"max tokens must lie between 1 and 200, not {self.max_tokens}")
        if not 1 <= self.views <= 64:
            raise UsageError(f"views must lie between 1 and 64, not {self.views}")
        if self.limit_images is not None and self.limit_images < 1:
            raise UsageError(f"image limit must be at least 1, not {self.limit_images}")


@dataclass(frozen=True, slots=True)
class OptimizationConfig:
    """How weights are updated; the same for all stages.

    Attributes:
        batch_images: images a step over all workers; each brings all its captions.
        accumulate: parts that a worker's share of them is worked through in, one after the other: the same update in
            less memory.
        precision: of activations, 'float32' or 'bfloat16'; weights and logits are float32.
        label_smoothing: share of the target spread evenly over the vocabulary (Szegedy et al. 2016, arXiv 1512.00567).
        clip_norm: cap of the gradients' global norm.
        ema_decay: decay a step of the averaged weights, which are the ones evaluated and kept (Polyak averaging).
    """

    batch_images: int = 32
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    seed: int = 1
    accumulate: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.batch_images < 1:
            raise UsageError(f"batch images must be at least 1, not {self.batch_images}")
        if self.precision not in TRAINING_PRECISIONS:
            raise UsageError(f"precision must be {' or '.join(TRAINING_PRECISIONS)}, not {self.precision!r}")
        if self.accumulate < 1:
            raise UsageError(f"accumulated parts must be at least 1, not {self.accumulate}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"label smoothing must lie in [0, 1), not {self.label_smoothing}")
        if not self.clip_norm > 0.0:
            raise UsageError(f"clip norm must be positive, not {self.clip_norm}")
        if not 0 <= self.seed < 2**30:  # the dropout's seeds are made of it, in 32 bits
            raise UsageError(f"seed must lie in [0, 2**30), not {self.seed}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise UsageError(f"EMA decay must lie in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """Which decoder, and what it is told besides the sizes that vocabulary and encoder decide.

    Attributes:
        name: one of `decoder_registry.DECODERS`.
        settings: sizes, dropout rates and choices by name; what is not named is as the decoder has it by default.
    """

    name: str = "soft_attention"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config(vocabulary_size=1, feature_channels=1)

    def config(self, *, vocabulary_size: int, feature_channels: int) -> DecoderConfig:
        """The decoder's sizes, all of them.

        Raises:
            UsageError: an unknown decoder or setting, or an impossible value.
        """
        sizes = {"vocabulary_size": vocabulary_size, "feature_channels": feature_channels}
        if given := sizes.keys() & self.settings.keys():
            raise UsageError(f"decoder: {min(given)} follows from the data and the encoder, and can't be set")
        return decoder_config(self.name, {**self.settings, **sizes})


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole run.

    Attributes:
        initial: float bundle whose weights and vocabulary the first stage begins with; None begins anew.
    """

    data: DataConfig
    output: Path
    stages: tuple[StageConfig, ...]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    encoder_weights: str | None = "imagenet"
    initial: Path | None = None
    decoder: DecoderChoice = field(default_factory=DecoderChoice)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    name: str = "captioner"
    trained_on: str = "an unnamed data set"
    notes: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    cpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("a run needs at least one stage")
        self._check_stages()
        check_features(self.decoder.name, self.encoder.features)
        for stage in self.stages:
            check_block(self.encoder.name, stage.train_encoder_from)
        if self.workers < 1:
            raise UsageError(f"workers must be at least 1, not {self.workers}")
        batch, parts = self.optimization.batch_images, self.optimization.accumulate
        if batch % self.workers:
            raise UsageError(f"batch images ({batch}) must be a multiple of workers ({self.workers})")
        if batch % (self.workers * parts):
            raise UsageError(f"a worker's share of a batch ({batch // self.workers} images) can't be cut into {parts}")

    def _check_stages(self) -> None:
        objectives = [stage.objective for stage in self.stages]
        if "concepts" in objectives[1:] or (objectives[:1] == ["concepts"] and objectives[1:2] != ["references"]):
            raise UsageError("concepts come first, and references after them: the encoder needs another decoder")

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it continues; how many workers train is not part of it."""
        whole = asdict(self)
        for name in ("workers", "cpus_per_worker", "output", "name", "trained_on", "notes"):
            del whole[name]
        return {key: _plain(value) for key, value in whole.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
