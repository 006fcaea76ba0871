"""What recipes for images and for graphs have in common.

The first fields, the short name, and their forms as JSON and TOML.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from edgeq.network.checks import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class AnyRecipe(ABC):
    """Everything that decides the outcome of a training run.

    Attributes:
        model: a name of the model zoo.
        data: a data set's name.
        scheme: the quantisation, which has a name; None trains in FP32.
        epochs: passes over the data, at most.
    """

    model: str
    data: str
    scheme: Any = None
    epochs: int = 1

    @property
    def name(self) -> str:
        """``model scheme``, for tables."""
        return f"{self.model} {'FP32' if self.scheme is None else self.scheme.name}"

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    @abstractmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: a field is unknown, missing, of another type or out of range.
        """

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a recipe.

        The table ``[scheme]`` holds the quantisation, without it training is FP32.

        Raises:
            ArtefactError: the file is missing or no TOML.
            UsageError: its fields are wrong.
        """
        return cls.from_dict(read_toml(path))
