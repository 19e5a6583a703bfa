"""What a manifest's reference says about its row: mostly the path as written, and nothing else.

A locator that begins with an exclamation mark is a JSON object: of a row that names no path that may be tried, of one
that carries values along or is to be found again in a Parquet file, and of a path that itself begins with that mark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caption_core.errors import ImageError
from caption_core.records import ErrorKind

MARK = "!"


@dataclass(frozen=True, slots=True)
class Locator:
    """A row of a manifest.

    Attributes:
        path: as `PathRules` takes it; None where there is none.
        fault: why there is none.
        row: in a Parquet file with carried columns; None otherwise.
        carried: values that are carried along in the plan itself, by their columns.
    """

    path: str | None
    fault: ImageError | None = None
    row: int | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The text of a reference's `locator`."""
        if self.path is not None and not self.path.startswith(MARK) and self.row is None and not self.carried:
            return self.path
        values: dict[str, Any] = {}
        if self.fault is not None:
            values = {"kind": self.fault.kind.value, "message": str(self.fault)}
        if self.row is not None:
            values["row"] = self.row
        if self.carried:
            values["carried"] = self.carried
        if self.path is not None:
            values["path"] = self.path
        return MARK + json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Locator:
        """What `str` made."""
        if not text.startswith(MARK):
            return cls(text)
        values = json.loads(text[len(MARK) :])
        fault = ImageError(ErrorKind(values["kind"]), values["message"]) if "kind" in values else None
        return cls(values.get("path"), fault, values.get("row"), values.get("carried", {}))
