"""A module of this project in a process of its own: a request goes in as JSON, one reply comes out.

Nothing here loads a library: what runs in the process may have to see to its surroundings before any is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).resolve().parents[1]


def ask_module(module: str, request: Any, *, process: str) -> Any:
    """Run a module that calls `answer_request`.

    Args:
        module: its name.
        request: what JSON can hold.
        process: what messages call the process.

    Returns:
        What it answers.

    Raises:
        CapstanError: it was refused, with the module's reason, or the process ended without an answer.
    """
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", module]
        done = subprocess.run(
            command, input=json.dumps(request).encode(), stdout=subprocess.PIPE, stderr=log, env=_environment()
        )
        reply = json.loads(done.stdout) if done.returncode == 0 else {"error": _cause(process, done.returncode, log)}
    if "error" in reply:
        from caption_core.errors import CapstanError

        raise CapstanError(reply["error"])
    return reply["result"]


def _environment() -> dict[str, str]:
    """This project importable from any folder, and no GPU: such a process must not take the memory of one."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}


def _cause(process: str, code: int, log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{process} {ended}{f': {lines[-1]}' if lines else ''}"


def answer_request(answer: Callable[[Any], Any]) -> None:
    """In the process itself: answer the one request on standard input; a `CapstanError` refuses it.

    Standard output is for the reply alone: what native code prints there goes to standard error.
    """
    request = json.loads(sys.stdin.read())
    own = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(own, "w", encoding="utf-8") as replies:
        json.dump(_reply(answer, request), replies)


def _reply(answer: Callable[[Any], Any], request: Any) -> dict[str, Any]:
    try:
        return {"result": answer(request)}
    except Exception as error:
        from caption_core.errors import CapstanError

        if not isinstance(error, CapstanError):
            raise
        return {"error": str(error)}
