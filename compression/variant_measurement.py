"""A finished variant to its measurement, but for all times, which are measured when everything else is done.

What an earlier run measured of the same bundle, and this one doesn't measure anew, stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caption_core.bundle import Bundle
from compression.measurement import MEASUREMENT, Measurement, Quality, ScoredContent, write_measurement
from compression.measuring.layers import measure_layers
from compression.measuring.loading import measure_loading
from compression.measuring.machine import measure_machine
from compression.measuring.quality import measure_quality
from compression.measuring.sizes import measure_sizes
from compression.study_run import StudyConfig, step_records
from compression.variants import StepNode, Variant


def measure_variant(
    config: StudyConfig,
    variant: Variant,
    nodes: Sequence[StepNode],
    bundle: Bundle,
    content: ScoredContent | None,
    found: Measurement | None,
) -> Measurement:
    """Measure sizes, layers, memory and quality, and write the measurement beside the bundle.

    Args:
        config: the study's.
        variant: the variant.
        nodes: its steps.
        bundle: its bundle.
        content: what is scored; None scores nothing.
        found: what an earlier run measured of this bundle; None where nothing was. Its times are kept: they were
            measured in turns with those of all others, and whether that has to be done again is seen when all are made.
    """
    folder = bundle.folder.parent
    records = step_records(config, nodes)
    quality, other_quality = _scores(config, bundle, content, found)
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
        memory_mb=_memory_mb(config, bundle, found),
        layers=measure_layers(bundle, _layer_errors(records)),
        load_s=found.load_s if found else None,
        speed=found.speed if found else (),
        quality=quality,
        other_quality=other_quality,
        machine=found.machine if found else measure_machine(),
        steps=tuple(records),
    )
    write_measurement(folder / MEASUREMENT, measurement)
    return measurement


def _scores(
    config: StudyConfig, bundle: Bundle, content: ScoredContent | None, found: Measurement | None
) -> tuple[tuple[Quality, ...], tuple[Quality, ...]]:
    """Scores of what is asked for, and those of other splits: a report's table would mix them up.

    Scores of another content under the split's name go, since files of captions have no more than the name.
    """
    if content is None:
        return (found.quality, found.other_quality) if found else ((), ())
    before = (*found.quality, *found.other_quality) if found else ()
    known = {one.beam_width: one for one in before if content.is_of(one)}
    asked = {width: known.get(width) or _score(config, bundle, content, width) for width in config.beam_widths}
    others = tuple(one for one in before if one.split != content.split)
    return tuple((asked | known).values()), others


def _score(config: StudyConfig, bundle: Bundle, content: ScoredContent, width: int) -> Quality:
    assert config.scored is not None  # it is what `content` was read from
    folder, threads = bundle.folder, config.cpus_per_task
    quality = measure_quality(folder, config.scored, folder.parent, beam_width=width, threads=threads)
    return quality.model_copy(update={"digest": content.digest})


def _memory_mb(config: StudyConfig, bundle: Bundle, found: Measurement | None) -> float:
    if found is not None:
        return found.memory_mb
    return measure_loading(bundle.folder, threads=config.cpus_per_task, runs=1).memory_mb


def _layer_errors(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What quantizing each layer alone costs, by its name, where a step has measured it."""
    entries = [entry for record in records for entry in record.get("layers", ()) if entry.get("error") is not None]
    return {entry["name"]: entry["error"] for entry in entries}
