"""What each step of a recipe is told. No TensorFlow here: a recipe is checked before it is imported."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Part = Literal["encoder", "decoder"]
PARTS: tuple[Part, ...] = ("encoder", "decoder")

Format = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""How LiteRT holds a part: float16 weights; int8 weights, activations quantized as they come ('dynamic'); int8
throughout, or int16 activations on int8 weights, both with calibrated ranges."""

CALIBRATED: frozenset[str] = frozenset({"int8", "int16x8"})

Sparsity = Annotated[float, Field(gt=0.0, lt=1.0)]
"""Share of a weight's elements that are zero."""

PIXELS = "pixels"
"""Names the start of the encoder, where a block is named otherwise."""

Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Settings(BaseModel):
    """Settings of a step; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(Settings):
    """How a step trains on, while its constraint holds.

    Attributes:
        epochs: passes over the training images.
        learning_rate: Adam's peak rate (see `training.optimization.learning_rate`).
        warmup_steps: updates in which the rate rises.
        objective: `references`, the captions' likelihood; `self_critical`, the CIDEr-D of the model's own captions;
            `features`, the teacher's features (encoder only).
        captions: what counts as reference: those of the data, the teacher's own (sequence-level distillation, Kim and
            Rush 2016, arXiv 1606.07947), or both.
        soft_targets: share of the target that is the teacher's distribution over the next word (word-level
            distillation, Hinton et al. 2015, arXiv 1503.02531), in place of the reference's word.
        temperature: of both distributions in that share.
        teacher_beam: hypotheses an image that the teacher's search keeps; as many captions come of it.
        encoder_from: the encoder's first block that trains along; `pixels` is all of it; None freezes it.
        images: train on the first so many images only.
        batch_images: images of an update; fewer make more updates an epoch, which sparse weights need.
        views: in how many ways an image is seen; None is as the data have it.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    learning_rate: Rate = 3e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    objective: Literal["references", "self_critical", "features"] = "references"
    captions: Literal["references", "teacher", "both"] = "references"
    soft_targets: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    teacher_beam: Annotated[int, Field(ge=1, le=64)] = 3
    encoder_from: str | None = None
    images: Annotated[int, Field(ge=1)] | None = None
    batch_images: Annotated[int, Field(ge=1, le=4096)] = 32
    views: Annotated[int, Field(ge=1, le=64)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Training:
        if self.objective != "references" and (self.soft_targets or self.captions != "references"):
            raise ValueError(f"objective {self.objective} has no reference words to distil into")
        if self.objective == "features" and self.encoder_from is None:
            raise ValueError("objective features trains the encoder: say encoder_from")
        return self

    @property
    def distils(self) -> bool:
        """Whether a teacher is asked for words."""
        return self.soft_targets > 0 or self.captions != "references"


class Step(Settings):
    """A step of a recipe.

    Attributes:
        kind: its name in a recipe.
    """

    kind: ClassVar[str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts of the captioner that it changes."""
        return (self.part,) if hasattr(self, "part") else PARTS

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The trainings that it runs."""
        training = getattr(self, "training", None)
        return () if training is None else (training,)


class Magnitude(Step):
    """Gradual magnitude pruning while training (Zhu and Gupta 2017, arXiv 1710.01878), by TF-MOT.

    Attributes:
        schedule: sparsity rises from `initial_sparsity` to `sparsity` by a polynomial of degree 3, or is constant.
        begin, end: where in the training, as shares of its updates, the schedule begins and ends.
        every: updates between two changes of the masks.
        pattern: single weights; blocks of `block` elements, inputs by outputs, of which matrices and 1x1 convolutions
            consist; or `m_by_n`, zeros among so many neighbouring inputs, all at once where the schedule begins.
        block: sides of a block.
        m_by_n: zeros, of.
        layers: leaves out weights whose name holds none of these; None prunes all of the part.
    """

    kind: ClassVar[str] = "magnitude"
    part: Part
    sparsity: Sparsity
    schedule: Literal["constant", "polynomial"] = "polynomial"
    initial_sparsity: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    begin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    end: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    every: Annotated[int, Field(ge=1)] = 20
    pattern: Literal["unstructured", "block", "m_by_n"] = "unstructured"
    block: tuple[int, int] = (1, 4)
    m_by_n: tuple[int, int] = (2, 4)
    layers: tuple[str, ...] | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _fits(self) -> Magnitude:
        if self.begin >= self.end:
            raise ValueError(f"the schedule must begin ({self.begin}) before it ends ({self.end})")
        if self.initial_sparsity > self.sparsity:
            raise ValueError(f"initial_sparsity {self.initial_sparsity} lies above sparsity {self.sparsity}")
        zeros, of = self.m_by_n
        if self.pattern == "m_by_n" and (not 0 < zeros < of or abs(self.sparsity - zeros / of) > 1e-3):
            raise ValueError(f"m_by_n {zeros} of {of} is a sparsity of {zeros}/{of}, not {self.sparsity}")
        if min(self.block) < 1:
            raise ValueError(f"block sides must be at least 1, not {self.block}")
        return self


class Hard(Step):
    """One-shot magnitude pruning of a trained model (See et al. 2016, arXiv 1606.09274), then training, if any.

    Attributes:
        method: the same share of every weight matrix (`uniform`), one threshold for all (`blind`), or one that is the
            same multiple of each matrix' standard deviation (`distribution`).
    """

    kind: ClassVar[str] = "hard"
    part: Part
    sparsity: Sparsity
    method: Literal["uniform", "blind", "distribution"] = "blind"
    layers: tuple[str, ...] | None = None
    training: Training | None = None


class Supermask(Step):
    """End-to-end supermask pruning (Tan et al. 2019, arXiv 1908.10797; 2021, arXiv 2110.03298).

    Attributes:
        gate_optimizer: of the gate logits: `sgd` without momentum, as in the paper, or `adam`, which gets there in a
            few epochs.
        gate_learning_rate: its rate, a constant; the paper's, for SGD and far more updates, is 100.
        initial_gate: logit that every gate begins with; the paper's is 5.
        sparsity_weight: of the sparsity loss once it is annealed; more reaches the target earlier.
        restart: train from random weights (decoder only), as in the paper, not from the parent's.
        fine_tuning: training with the masks fixed, after the gates are rounded.
    """

    kind: ClassVar[str] = "supermask"
    part: Part = "decoder"
    sparsity: Sparsity
    gate_optimizer: Literal["sgd", "adam"] = "adam"
    gate_learning_rate: Annotated[float, Field(gt=0.0)] = 0.03
    initial_gate: float = 3.0
    sparsity_weight: Annotated[float, Field(gt=0.0)] = 150.0
    restart: bool = False
    layers: tuple[str, ...] | None = None
    training: Training = Training()
    fine_tuning: Training | None = None

    @model_validator(mode="after")
    def _fits(self) -> Supermask:
        _check_restart(self.kind, self.part, self.restart)
        return self

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Both trainings."""
        return (self.training,) if self.fine_tuning is None else (self.training, self.fine_tuning)


class Snip(Step):
    """Pruning by connection sensitivity (Lee et al. 2019, arXiv 1810.02340), then training.

    Attributes:
        batches: batches whose gradients the sensitivities are summed over.
        restart: train anew from random weights under the mask, as in the paper, not from the trained ones.
    """

    kind: ClassVar[str] = "snip"
    part: Part = "decoder"
    sparsity: Sparsity
    batches: Annotated[int, Field(ge=1)] = 10
    restart: bool = False
    layers: tuple[str, ...] | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _fits(self) -> Snip:
        _check_restart(self.kind, self.part, self.restart)
        return self


class LotteryTicket(Step):
    """Iterative magnitude pruning with rewinding (Frankle and Carbin 2019, arXiv 1803.03635).

    Attributes:
        rounds: prunings; a training comes before each, and one after the last, all from the rewound weights.
        rewind: to the weights that the chain's step began with (`parent`) or to random ones (`random`, the paper's).
    """

    kind: ClassVar[str] = "lottery_ticket"
    part: Part = "decoder"
    sparsity: Sparsity
    rounds: Annotated[int, Field(ge=1, le=50)] = 4
    rewind: Literal["parent", "random"] = "parent"
    layers: tuple[str, ...] | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _fits(self) -> LotteryTicket:
        _check_restart(self.kind, self.part, self.rewind == "random")
        return self


def _check_restart(kind: str, part: Part, restart: bool) -> None:
    if restart and part == "encoder":
        raise ValueError(f"{kind} begins with random weights in a decoder only, not in an encoder")


class Cluster(Step):
    """Weight clustering (Han et al. 2016, arXiv 1510.00149) by TF-MOT; zeros stay zeros.

    Attributes:
        clusters: distinct values of a weight matrix, zero counted where it is sparse.
        initialization: of the centroids, by TF-MOT; `density` reads them off 30 values and seldom gives more.
        per_channel: clusters of their own for each output channel (encoder convolutions only).
    """

    kind: ClassVar[str] = "cluster"
    part: Part
    clusters: Annotated[int, Field(ge=2, le=256)] = 16
    initialization: Literal["kmeans++", "linear", "density"] = "kmeans++"
    per_channel: bool = False
    layers: tuple[str, ...] | None = None
    training: Training | None = Training(epochs=1)

    @model_validator(mode="after")
    def _fits(self) -> Cluster:
        if self.per_channel and self.part != "encoder":
            raise ValueError("per_channel is for the encoder's convolutions: the decoder has none")
        return self


class QuantizationAware(Step):
    """Training with the rounding of int8 in the forward pass (Jacob et al. 2018, arXiv 1712.05877).

    The encoder's is TF-MOT's; zeros and clusters of the weights are preserved (PQAT, CQAT, PCQAT). The decoder's is a
    cell of our own, which rounds matrices a channel, and what they are multiplied by as it comes.
    """

    kind: ClassVar[str] = "quantization_aware"
    part: Part
    training: Training = Training(epochs=1, learning_rate=1e-5)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, fields: Any) -> Any:
        """An encoder that learns its own features again needs and bears more than one that learns captions."""
        if not isinstance(fields, dict) or not isinstance(fields.get("training"), dict):
            return fields
        faster = fields.get("part") == "encoder" and fields["training"].get("objective") == "features"
        return {**fields, "training": {"epochs": 1, "learning_rate": 1e-4 if faster else 1e-5, **fields["training"]}}


class Quantize(Step):
    """Conversion to LiteRT, each part in a format of its own; not quantized is `float32`.

    Attributes:
        calibration_images: training images that activations' ranges are measured on.
        keep_float: names of layers that stay in float where the rest is quantized; a part of a name is enough.
    """

    kind: ClassVar[str] = "quantize"
    encoder: Format | None = None
    decoder: Format | None = None
    calibration_images: Annotated[int, Field(ge=1)] = 200
    keep_float: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Quantize:
        if self.encoder is None and self.decoder is None:
            raise ValueError("quantize needs a format for the encoder, the decoder or both")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that it gives a format."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @property
    def calibrates(self) -> bool:
        """Whether images are needed."""
        return bool({self.encoder, self.decoder} & CALIBRATED)


class Architecture(Step):
    """Another encoder or decoder, of which the fitting weights are taken over; training has to follow.

    What is None stays as it is.

    Attributes:
        encoder, encoder_width, image_size, encoder_features: see `EncoderConfig`; `image_size` is a side in pixels.
        encoder_weights: file of the new encoder's weights; None takes the parent's where encoder and width stay, and
            random ones otherwise.
        decoder: its name.
        decoder_settings: sizes and choices by name, as `train` takes them.
    """

    kind: ClassVar[str] = "architecture"
    encoder: str | None = None
    encoder_width: float | None = None
    encoder_features: str | None = None
    encoder_weights: str | None = None
    image_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    decoder: str | None = None
    decoder_settings: dict[str, Any] = {}
    training: Training | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Architecture:
        if not self.parts:
            raise ValueError("architecture changes nothing: name an encoder, an image size, a decoder or its settings")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that are exchanged."""
        encoder = (self.encoder, self.encoder_width, self.encoder_features, self.encoder_weights, self.image_size)
        changed = {"encoder": any(value is not None for value in encoder)}
        changed["decoder"] = self.decoder is not None or bool(self.decoder_settings)
        return tuple(part for part in PARTS if changed[part])


class FactorizeEmbedding(Step):
    """The word embedding as a product of two matrices (Lan et al. 2020, arXiv 1909.11942) by a truncated SVD.

    The small factor is multiplied into its neighbours, so nothing is added to a step.

    Attributes:
        rank: units that are left of a word's vector.
    """

    kind: ClassVar[str] = "factorize_embedding"
    rank: Annotated[int, Field(ge=1)]
    training: Training | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The decoder."""
        return ("decoder",)


class TieEmbedding(Step):
    """The output layer tied to the word embedding (Press and Wolf 2017, arXiv 1608.05859), of a decoder that isn't."""

    kind: ClassVar[str] = "tie_embedding"
    training: Training | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The decoder."""
        return ("decoder",)


class CutVocabulary(Step):
    """The most frequent words only; the others become the unknown token.

    Attributes:
        words: how many words remain beside the special tokens.
    """

    kind: ClassVar[str] = "cut_vocabulary"
    words: Annotated[int, Field(ge=1)]
    training: Training | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The decoder."""
        return ("decoder",)


class FineTune(Step):
    """Training; zeros stay zeros. With soft targets or the teacher's captions it is a distillation."""

    kind: ClassVar[str] = "fine_tune"
    training: Training = Training()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What trains."""
        if self.training.encoder_from is None:
            return ("decoder",)
        return ("encoder",) if self.training.objective == "features" else PARTS


class Distill(Step):
    """Training on a teacher's words: its distribution over the next (`word`), its captions (`sequence`), or both."""

    kind: ClassVar[str] = "distill"
    level: Literal["word", "sequence", "both"] = "word"
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, fields: Any) -> Any:
        """Shares and captions follow from the level where the recipe doesn't name them."""
        if not isinstance(fields, dict) or not isinstance(fields.get("training", {}), dict):
            return fields
        level, training = fields.get("level", "word"), dict(fields.get("training", {}))
        if level in ("word", "both"):
            training.setdefault("soft_targets", 0.7)
        if level in ("sequence", "both"):
            training.setdefault("captions", "both")
        return {**fields, "training": training}

    @property
    def parts(self) -> tuple[Part, ...]:
        """What trains."""
        return FineTune(training=self.training).parts


class Search(Step):
    """Other search defaults of the captioner: fewer beams are part of what makes one fast.

    What is None stays as it is (see `SearchSettings`).
    """

    kind: ClassVar[str] = "search"
    beam_width: Annotated[int, Field(ge=1, le=64)] | None = None
    length_penalty: Annotated[float, Field(ge=0.0, le=5.0)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200)] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """None: it changes no weight."""
        return ()


class Store(Step):
    """A bundle's files as a user downloads them: entropy-coded, expanded when they are loaded.

    Attributes:
        codec: `zstd`, or `xz`, which is a few percent smaller and takes ten times as long to expand.
    """

    kind: ClassVar[str] = "store"
    codec: Literal["zstd", "xz"] = "zstd"


STEPS: dict[str, type[Step]] = {
    step.kind: step
    for step in (
        Architecture,
        TieEmbedding,
        FactorizeEmbedding,
        CutVocabulary,
        FineTune,
        Distill,
        Hard,
        Magnitude,
        Supermask,
        Snip,
        LotteryTicket,
        Cluster,
        QuantizationAware,
        Search,
        Quantize,
        Store,
    )
}
PRUNING = (Hard, Magnitude, Supermask, Snip, LotteryTicket)
