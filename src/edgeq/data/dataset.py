"""A registered data set: what it is, which files it needs, and the function that reads them.

The entry points of the group ``edgeq.datasets`` are a :class:`Dataset` of images each, those of
``edgeq.graphs`` a :class:`GraphDataset`. Because the files are data, a listing can say what is
there without opening one of them, and a refusal can name what is missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from edgeq.data.graph import GraphData
from edgeq.data.source import DataSource
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

ROOT_VARIABLE = "EDGEQ_DATA"


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One line of the listing of data sets.

    Attributes:
        name: what the user types.
        summary: what it is, in one line.
        classes: how many there are.
        shape: channels, height and width of a sample; nodes and features of a graph.
        needs_root: whether it is read from files below the data folder.
        available: whether it can be read here.
        why_not: what is missing, empty when available.
    """

    name: str
    summary: str
    classes: int
    shape: tuple[int, ...]
    needs_root: bool
    available: bool
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class PublishedFiles(Generic[T]):
    """A data set that can be loaded by name; calling it loads it.

    Attributes:
        name: what the user types.
        summary: what it is, in one line.
        classes: how many there are.
        shape: channels, height and width of a sample; nodes and features of a graph.
        read: reads the files; it is given the folder they lie in (or the current one when there are
            none) and their paths in the order of ``layouts``.
        layouts: the forms it is published in, the preferred one first; a form is a tuple of paths
            below the data folder, all of which must exist. Empty when it comes with an installed
            package.
        origin: where a person gets the files.
    """

    name: str
    summary: str
    classes: int
    shape: tuple[int, ...]
    read: Callable[[tuple[Path, ...]], T]
    layouts: tuple[tuple[str, ...], ...] = ()
    origin: str = ""

    def __call__(self, root: Path | None) -> T:
        """Read it.

        Args:
            root: the data folder; the one the environment variable ``EDGEQ_DATA`` names where it is
                None.

        Raises:
            UsageError: it needs a data folder and none is named.
            ArtefactError: its files are missing or broken.
        """
        if not self.layouts:
            return self.read(())
        folder = data_root(root)
        if folder is None:
            raise UsageError(
                f"the data set {self.name!r} is read from files, and no folder is named",
                hint=f"set {ROOT_VARIABLE} to the folder",
            )
        paths = self._find(folder)
        if paths is None:
            raise ArtefactError(
                f"the data set {self.name!r} is not in {folder}: {self._wanted()}",
                hint=self._how_to_get(),
            )
        return self.read(paths)

    def info(self, root: Path | None) -> DatasetInfo:
        """What it is and whether it can be read here.

        Looks for files, opens none and never raises.
        """
        return DatasetInfo(
            self.name,
            self.summary,
            self.classes,
            self.shape,
            bool(self.layouts),
            *self._availability(root),
        )

    def _availability(self, root: Path | None) -> tuple[bool, str]:
        folder = root if root is not None else _root_from_environment()
        if not self.layouts:
            return True, ""
        if folder is None:
            return False, f"{ROOT_VARIABLE} is not set"
        if self._find(folder) is None:
            return False, f"{folder} has {self._wanted()}"
        return True, ""

    def _find(self, folder: Path) -> tuple[Path, ...] | None:
        for layout in self.layouts:
            paths = tuple(folder / file for file in layout)
            if all(path.is_file() for path in paths):
                return paths
        return None

    def _wanted(self) -> str:
        return (
            "no "
            + " nor ".join(dict.fromkeys(layout[0] for layout in self.layouts))
            + " with the files that belong to it"
        )

    def _how_to_get(self) -> str:
        return f"{self.origin} into that folder, or set {ROOT_VARIABLE} to the folder that holds it"


class Dataset(PublishedFiles[DataSource]):
    """Images with labels."""

    __slots__ = ()


class GraphDataset(PublishedFiles[GraphData]):
    """One graph whose nodes have labels."""

    __slots__ = ()


def data_root(root: Path | None) -> Path | None:
    """The folder of data: the given one, else the one that ``EDGEQ_DATA`` names, else None.

    Raises:
        UsageError: there is no such folder.
    """
    folder = root if root is not None else _root_from_environment()
    if folder is not None and not folder.is_dir():
        said_by = "" if root is not None else f" ({ROOT_VARIABLE})"
        raise UsageError(
            f"the data folder {folder}{said_by} does not exist",
            hint="name the folder that holds the data sets",
        )
    return folder


def _root_from_environment() -> Path | None:
    value = os.environ.get(ROOT_VARIABLE)
    return Path(value) if value else None
