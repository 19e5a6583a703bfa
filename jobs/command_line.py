"""How every job ends: a usage error is one line and exit code 2, a failed run one line and exit code 1."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from caption_core.archive.store_errors import cause_of
from caption_core.engine.interruption import Interrupted
from caption_core.errors import CapstanError, UsageError

OF_EXTRA_TRAIN = frozenset(
    ("jinja2", "matplotlib", "safetensors", "tensorflow", "tensorflow_model_optimization", "tf_keras", "yaml")
)
"""Modules of the packages that captioning with compressed captioners does without."""


class DefaultGroup(click.Group):
    """Commands of which one is meant where none is named, so that its options can follow at once.

    Args:
        default: that command.
    """

    def __init__(self, *args: Any, default: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before options that are not the group's own."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "-h"):
            args = [self._default, *args]
        return super().parse_args(ctx, args)


def run_command(command: click.Command) -> int:
    """Run a click command with this process' arguments; returns the exit code."""
    try:
        result = command.main(standalone_mode=False)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except UsageError as error:
        return _fail(str(error), 2)
    except CapstanError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(_described(error), 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in OF_EXTRA_TRAIN:
            raise
        return _fail(f"{error.name} is not installed: pip install 'capstan[train]'", 1)
    except click.Abort:
        return _fail("interrupted", 130)
    except Interrupted as interruption:
        return _fail("interrupted", interruption.exit_code)
    return result if isinstance(result, int) else 0


def _described(error: OSError) -> str:
    """The file, where the error has a name of it, and the cause; PyArrow says both in one."""
    if error.filename is None:
        return error.strerror or cause_of(error)
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    return f"{name}: {cause_of(error)}"


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
