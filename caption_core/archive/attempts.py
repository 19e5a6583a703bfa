"""What came of earlier tries of a shard, kept where all machines of a run can see it.

A worker that an image kills (a crash in a codec, a decoder that hangs and lets nothing else run) leaves no row that
says so, and its shard is tried again by another worker, and again. The notes find the image at fault: after some tries
the worker notes down each image before it touches it; the one that stands there when a worker died twice is left out,
and becomes a failed row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from caption_core.archive.storage import Storage

_FOLDER = "attempts"

# Machines come and go, so the first tries are made at full speed.
_FULL_SPEED_TRIES = 2
_DEATHS_THAT_CONDEMN = 2
_FRUITLESS_TRIES = 4  # careful ones, in a row, that found no culprit


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try of a shard, as it begins.

    Attributes:
        number: of this try, counted anew when an image is condemned.
        suspect: the image that is being worked on, by its position in the shard; None at full speed.
        deaths: of workers, by the image that was worked on.
        condemned: images to leave out.
    """

    number: int = 0
    suspect: int | None = None
    deaths: Mapping[str, int] = field(default_factory=dict)
    condemned: tuple[int, ...] = ()

    @property
    def is_careful(self) -> bool:
        """Whether to note down each image before it is touched."""
        return self.number > _FULL_SPEED_TRIES

    @property
    def is_hopeless(self) -> bool:
        """Whether workers keep dying, and not of an image."""
        return self.number > _FULL_SPEED_TRIES + _FRUITLESS_TRIES


class AttemptLog:
    """The notes of one shard.

    Args:
        state: the run's state folder.
        shard_id: of the shard.
    """

    def __init__(self, state: Storage, shard_id: int) -> None:
        self._folder = state.sub(_FOLDER)
        self._name = f"shard-{shard_id:05d}.json"
        self._attempt = Attempt()

    def begin(self) -> Attempt:
        """Note that a try begins; returns what is known from those before it."""
        self._folder.make_for_files()
        self._save(_next_attempt(self._load()))
        return self._attempt

    def suspect(self, position: int | None) -> None:
        """Note which image is touched next; None when there is none left, and the part is written."""
        self._save(replace(self._attempt, suspect=position))

    def take_back(self) -> None:
        """Forget the tries so far: an exception is no death, and whoever catches it may try again at full speed.

        A shard that is done at full speed needs no such word: its part says so, and the run forgets all notes at its
        end.
        """
        self._folder.delete(self._name)

    def _load(self) -> Attempt:
        try:
            values = json.loads(self._folder.read(self._name))
            return Attempt(**values | {"condemned": tuple(values["condemned"])})
        except (OSError, ValueError, TypeError, KeyError):
            return Attempt()

    def _save(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._folder.write(self._name, json.dumps(asdict(attempt)).encode())


def forget_attempts(state: Storage) -> None:
    """Forget all notes, for a new run."""
    state.sub(_FOLDER).delete_all()


def _next_attempt(last: Attempt) -> Attempt:
    if last.suspect is None:
        return replace(last, number=last.number + 1)
    deaths = {**last.deaths, str(last.suspect): last.deaths.get(str(last.suspect), 0) + 1}
    if deaths[str(last.suspect)] < _DEATHS_THAT_CONDEMN:
        return replace(last, number=last.number + 1, suspect=None, deaths=deaths)
    condemned = (*last.condemned, last.suspect)
    return Attempt(_FULL_SPEED_TRIES + 1, None, deaths, condemned)
