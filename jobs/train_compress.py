"""Train captioners, compress them, measure them: `python jobs/train_compress.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs as it is

from jobs.command_line import run_command
from jobs.train_commands.benchmark import benchmark
from jobs.train_commands.compress import compress
from jobs.train_commands.evaluate import evaluate
from jobs.train_commands.record import record
from jobs.train_commands.report import report
from jobs.train_commands.study import study
from jobs.train_commands.train import train


@click.group()
def main() -> None:
    """Train captioners, compress them and measure what that cost and gained."""


for command in (train, compress, study, report, evaluate, record, benchmark):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(run_command(main))
