"""One local Ray for many runs of a test file: a start takes seconds, and most tests are not about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from caption_core.engine.cluster import Cluster, ClusterConfig, connected

_WARM = ClusterConfig(cpus=2)


class WarmRay:
    """Stands in for `connected`: keeps a local Ray of two CPUs for the next run, and starts what else is asked for."""

    def __init__(self) -> None:
        self._kept = ExitStack()
        self._cluster: Cluster | None = None

    @contextmanager
    def connected(self, config: ClusterConfig) -> Iterator[Cluster]:
        """The Ray that is kept; a run that fails takes it along, with whatever it left there."""
        if config != _WARM:
            self.stop()  # a process is connected to one Ray at a time
            with connected(config) as cluster:
                yield cluster
            return
        self._cluster = self._cluster or self._kept.enter_context(connected(config))
        try:
            yield self._cluster
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the Ray that is kept, if there is one."""
        self._cluster = None
        self._kept.close()
