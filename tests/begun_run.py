"""A run whose plan is on disk, and which nobody works on yet."""

from __future__ import annotations

from collections.abc import Sequence

from caption_core.archive.output_folder import held_output_folder
from caption_core.archive.sources.combined import CombinedSource
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.captioning_run import work_of
from caption_core.engine.run_setup import begin_run
from caption_core.engine.work import CaptioningWork


def begun_run(
    config: CaptioningConfig, captioner: CaptionerSpec, source: CombinedSource | None = None
) -> tuple[CaptioningWork, Sequence[int]]:
    """What its actors would be told, and its shards in the order in which they would begin them."""
    with held_output_folder(config.storage()):
        setup = begin_run(config, captioner, source or config.open_source())
    return work_of(config, captioner, setup), setup.task(config.retry_failed).shard_ids
