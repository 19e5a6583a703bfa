"""Every step that a recipe may name."""

from __future__ import annotations

from compression.settings.architecture import Architecture, CutVocabulary, FactorizeEmbedding, TieEmbedding
from compression.settings.clustering import Cluster
from compression.settings.delivery import Search, Store
from compression.settings.fine_tuning import Distill, FineTune
from compression.settings.pruning import Hard, LotteryTicket, Magnitude, Snip, Supermask
from compression.settings.quantization import QuantizationAware, Quantize
from compression.settings.step import Step

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
