"""What a reader must know of speed-ups from one runtime to another: how much of them the runtime alone brings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compression.report.rows import Row
from compression.report.wording import counted, runtime_name, span

_SPEEDUP = re.compile(r"threads_\d+_speedup")
_OF_RUNTIME = re.compile(r"threads_\d+_speedup_of_runtime")


def runtime_notes(rows: Sequence[Row]) -> list[str]:
    """A paragraph for each change of runtime that speed-ups include."""
    changed: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["baseline_runtime"] not in (None, row["runtime"]) and _numbers(row, _SPEEDUP):
            changed.setdefault((row["runtime"], row["baseline_runtime"]), []).append(row)
    return [_note(runtime_name(runtime), runtime_name(before), own) for (runtime, before), own in changed.items()]


def _note(runtime: str, before: str, rows: Sequence[Row]) -> str:
    compared = counted(len(rows), "captioner")
    said = f"Speed-ups of {compared} in {runtime} against a baseline in {before} include the change of runtime."
    baselines = dict.fromkeys(str(row["baseline"]) for row in rows)
    return " ".join([said, *(_share(runtime, [row for row in rows if row["baseline"] == name]) for name in baselines)])


def _share(runtime: str, rows: Sequence[Row]) -> str:
    """What the runtime alone brings against the one baseline of the rows."""
    baseline, ratios = rows[0]["baseline"], [ratio for row in rows for ratio in _numbers(row, _OF_RUNTIME)]
    same = f"the same model in {runtime} with float32 weights, unpruned"
    if not ratios:
        return f"How much that is can't be told against {baseline}: no speed was measured of {same}."
    twin = rows[0]["runtime_twin"]  # of all alike: it is found by the baseline
    return f"So much the runtime alone brings: {twin}, {same}, runs at {span(ratios)} times the speed of {baseline}."


def _numbers(row: Row, name: re.Pattern[str]) -> list[float]:
    return [value for column, value in row.items() if name.fullmatch(column)]
