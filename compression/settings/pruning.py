"""Settings of the steps that make weights zero."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compression.settings.fields import Part, Sparsity
from compression.settings.step import Step
from compression.settings.training import Training

Ranking = Literal["uniform", "blind", "distribution"]
"""Which magnitudes are compared: those of one weight matrix, of each of which the same share is left out; of all, with
one threshold; or of all, each as a multiple of its matrix' standard deviation (See et al. 2016, arXiv 1606.09274). At
high sparsity one threshold may leave too little of the matrices whose weights are small."""


class Magnitude(Step):
    """Gradual magnitude pruning while training (Zhu and Gupta 2017, arXiv 1710.01878), by TF-MOT.

    Attributes:
        schedule: sparsity rises from `initial_sparsity` to `sparsity` by a polynomial of degree 3, or is constant.
        begin, end: where in the training, as shares of its updates, the schedule begins and ends.
        every: updates between two changes of the masks.
        pattern: single weights; blocks of `block` elements, inputs by outputs, of which matrices and 1x1 convolutions
            consist; or `m_by_n`, zeros among so many neighbouring inputs, all at once where the schedule begins.
        block: sides of a block, where the pattern is `block`.
        m_by_n: zeros, of, where the pattern is `m_by_n`.
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
        if self.schedule == "constant" and "initial_sparsity" in self.model_fields_set:
            raise ValueError("initial_sparsity is for schedule polynomial, and the schedule is constant")
        if self.initial_sparsity > self.sparsity:
            raise ValueError(f"initial_sparsity {self.initial_sparsity} lies above sparsity {self.sparsity}")
        for name in ("block", "m_by_n"):
            if name in self.model_fields_set and self.pattern != name:
                raise ValueError(f"{name} is for pattern {name}, and the pattern is {self.pattern}")
        zeros, of = self.m_by_n
        if self.pattern == "m_by_n" and (not 0 < zeros < of or abs(self.sparsity - zeros / of) > 1e-3):
            raise ValueError(f"m_by_n {zeros} of {of} is a sparsity of {zeros}/{of}, not {self.sparsity}")
        if min(self.block) < 1:
            raise ValueError(f"block sides must be at least 1, not {self.block}")
        return self

    @property
    def asks_of_layers(self) -> bool:
        """See `Step`: blocks don't fit every matrix."""
        return super().asks_of_layers or self.pattern == "block"


class Hard(Step):
    """One-shot magnitude pruning of a trained model (See et al. 2016, arXiv 1606.09274), then training, if any.

    Attributes:
        method: which magnitudes are compared; see `Ranking`.
    """

    kind: ClassVar[str] = "hard"
    part: Part
    sparsity: Sparsity
    method: Ranking = "blind"
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
        if self.learns_features and "decoder" in self.moves:
            raise ValueError("training and fine_tuning both learn features, or neither does")
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
        method: which magnitudes are compared; see `Ranking`.
        rounds: prunings; a training comes before each, and one after the last, all from the rewound weights.
        rewind: to the weights that the chain's step began with (`parent`) or to random ones (`random`, the paper's).
    """

    kind: ClassVar[str] = "lottery_ticket"
    part: Part = "decoder"
    sparsity: Sparsity
    method: Ranking = "uniform"
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


PRUNING = (Hard, Magnitude, Supermask, Snip, LotteryTicket)
