"""Outputs that outlive their job."""

from __future__ import annotations

from pathlib import Path

from caption_core.archive.storage import is_remote
from caption_core.engine.cluster import is_submitted_job
from caption_core.errors import UsageError


def lasting_output(output: str) -> str:
    """What the user gave, a path or an address.

    Raises:
        UsageError: the job was submitted, and would write to where its working directory is now, which doesn't last.
    """
    if is_submitted_job() and not is_remote(output) and not Path(output).is_absolute():
        raise UsageError(
            f"--output {output}: a submitted job works in a temporary copy of the working directory, "
            "which is deleted with all that is in it; give an absolute path that the cluster's machines share"
        )
    return output
