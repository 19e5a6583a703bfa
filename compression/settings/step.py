"""What all steps' settings have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from compression.settings.fields import PARTS, Part, Settings

if TYPE_CHECKING:
    from typing_extensions import Self
from compression.settings.training import Training


class Step(Settings):
    """A step of a recipe.

    Attributes:
        kind: its name in a recipe.
    """

    kind: ClassVar[str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts of the captioner that it changes."""
        return (self.part,) if hasattr(self, "part") else PARTS

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The trainings that it runs."""
        training = getattr(self, "training", None)
        return () if training is None else (training,)

    @property
    def moves(self) -> tuple[Part, ...]:
        """Parts whose weights its trainings change, whichever part it is about."""
        return tuple(part for part in PARTS if any(part in training.moves for training in self.trainings))

    @property
    def learns_features(self) -> bool:
        """Whether one of its trainings is of the encoder's features."""
        return any(training.objective == "features" for training in self.trainings)

    @property
    def files(self) -> dict[str, Path]:
        """Files whose content decides what it makes, by the settings that name them."""
        return {}

    def located(self) -> Self:
        """The same with its files' full paths, for a process in another folder."""
        return self.model_copy(update={setting: str(path.resolve()) for setting, path in self.files.items()})

    @property
    def asks_of_layers(self) -> bool:
        """Whether layers of some name have to be there for it, or be of some shape."""
        return getattr(self, "layers", None) is not None or bool(getattr(self, "keep_float", ()))
