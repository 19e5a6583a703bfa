"""A finished variant to its measurement, but for all times, which are measured when everything else is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caption_core.bundle import Bundle
from compression.measurement import MEASUREMENT, Measurement, write_measurement
from compression.measuring.layers import measure_layers
from compression.measuring.loading import measure_loading
from compression.measuring.machine import measure_machine
from compression.measuring.quality import measure_quality
from compression.measuring.sizes import measure_sizes
from compression.study_run import StudyConfig, step_records
from compression.variants import StepNode, Variant


def measure_variant(config: StudyConfig, variant: Variant, nodes: Sequence[StepNode], bundle: Bundle) -> Measurement:
    """Measure sizes, layers, memory and quality, and write the measurement beside the bundle."""
    folder, threads = bundle.folder.parent, config.cpus_per_task
    records = step_records(config, nodes)
    scored = config.scored
    measurement = Measurement(
        variant=variant.name,
        study=config.study.name,
        axes=variant.axes,
        model=variant.model,
        recipe=variant.chain.as_yaml(),
        seed=variant.seed,
        command=config.command,
        bundle_id=bundle.model_id,
        runtime=bundle.manifest.runtime,
        beam_width=bundle.manifest.search.beam_width,
        random_weights=variant.model in config.random_weights,
        sizes=measure_sizes(bundle),
        memory_mb=measure_loading(bundle.folder, threads=threads, runs=1).memory_mb,
        layers=measure_layers(bundle, _layer_errors(records)),
        speed=(),
        quality=tuple(
            measure_quality(bundle.folder, scored, folder, beam_width=width, threads=threads)
            for width in (config.beam_widths if scored else ())
            if scored is not None
        ),
        machine=measure_machine(),
        steps=tuple(records),
    )
    write_measurement(folder / MEASUREMENT, measurement)
    return measurement


def _layer_errors(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What quantizing each layer alone costs, by its name, where a step has measured it."""
    entries = [entry for record in records for entry in record.get("layers", ()) if entry.get("error") is not None]
    return {entry["name"]: entry["error"] for entry in entries}
