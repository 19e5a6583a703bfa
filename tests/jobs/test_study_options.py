"""What `study`'s options mean: which models a part of a study needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from caption_core.errors import CapstanError
from jobs.train_commands.study import study

STUDY = """name: two
models: [lstm, gru]
variants:
  half: [{hard: {part: decoder, sparsity: 0.5}}]
"""


def refusal(folder: Path, *options: str) -> str:
    (folder / "two.yaml").write_text(STUDY, encoding="utf-8")
    arguments = [str(folder / "two.yaml"), "--output", str(folder / "out"), *options]
    result = CliRunner().invoke(study, arguments)
    assert isinstance(result.exception, CapstanError), result.output
    assert not (folder / "out").exists()
    return str(result.exception)


def test_a_part_needs_its_own_models_and_overlooks_others(tmp_path: Path) -> None:
    part = ("--variant", "gru+*")
    both = ("--model", f"lstm={tmp_path}", "--model", f"gru={tmp_path}")
    assert "no bundle" in refusal(tmp_path, *part, *both)  # the models are opened: neither is missing, or too many
    assert "needs the model 'gru'" in refusal(tmp_path, *part, "--model", f"lstm={tmp_path}")
    assert "has no model 'rnn'" in refusal(tmp_path, *part, "--model", f"gru={tmp_path}", "--model", f"rnn={tmp_path}")


@pytest.mark.parametrize("pattern", ["rnn+*", "half"])
def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    told = refusal(tmp_path, "--variant", pattern, "--model", f"gru={tmp_path}")
    assert f"no variant '{pattern}'; it has: lstm as is, gru as is, lstm+half, gru+half" in told
