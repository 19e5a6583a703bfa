import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_help_of_all_commands_waits_for_neither_charts_nor_templates() -> None:
    script = "import sys, jobs.train_compress; print(*{'matplotlib', 'jinja2'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
