"""What Ray Data prints while it works."""

from __future__ import annotations

import logging

from ray.data import DataContext


def quiet_ray_data() -> None:
    """Leave progress to the run: of Ray Data's console messages only warnings are kept."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.WARNING)
            handler.addFilter(_is_no_hint)


def _is_no_hint(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Progress bars disabled")
