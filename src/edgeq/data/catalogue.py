"""Data sets by the name a user types, or by the folder or file that holds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.data.user.opening import FILE_SUFFIXES, load_path
from edgeq.errors import UnknownName, UsageError
from edgeq.registry import Registry

if TYPE_CHECKING:
    from edgeq.data.dataset import Dataset, DatasetInfo, GraphDataset
    from edgeq.data.graph import GraphData
    from edgeq.data.source import DataSource

DATASETS: Registry[Dataset] = Registry("dataset")
GRAPHS: Registry[GraphDataset] = Registry("graph")


def load(name_or_path: str, root: Path | None = None) -> DataSource:
    """A data set by its name, or the user's own by its folder or file.

    Args:
        name_or_path: a registered name, or what :func:`edgeq.data.user.opening.load_path` reads.
        root: the folder that holds the registered ones; the one that ``EDGEQ_DATA`` names where it
            is None.

    Raises:
        UnknownName: neither registered, nor a folder or file.
        UsageError: it is a graph, or it is read from files and no folder of data is named.
        ArtefactError: its files are missing or broken.
    """
    known = DATASETS.names()
    if name_or_path in GRAPHS.names():
        raise UsageError(
            f"{name_or_path} is a graph, and images are needed here",
            hint=f"use one of {', '.join(known)}, or train a graph network",
        )
    if name_or_path in known:
        return DATASETS.load(name_or_path)(root)
    path = Path(name_or_path)
    if path.exists() or os.sep in name_or_path or path.suffix in FILE_SUFFIXES:
        return load_path(path)
    raise UnknownName("data set, folder or file", name_or_path, known)


def load_graph(name: str, root: Path | None = None) -> GraphData:
    """Read a graph into memory.

    Args:
        name: a registered name.
        root: the folder that holds the registered ones; the one that ``EDGEQ_DATA`` names where it
            is None.

    Raises:
        UnknownName: no graph is registered under it.
        UsageError: it holds images, or no folder of data is named.
        ArtefactError: its files are missing or broken.
    """
    known = GRAPHS.names()
    if name not in known and name in DATASETS.names():
        raise UsageError(
            f"{name} holds images, and a graph is needed here",
            hint=f"use one of {', '.join(known)}",
        )
    if name not in known:
        raise UnknownName("graph", name, known)
    return GRAPHS.load(name)(root)


def info(root: Path | None = None) -> list[DatasetInfo]:
    """What is registered and whether it can be read here; looks for files and opens none.

    Args:
        root: the folder of data; the one that ``EDGEQ_DATA`` names where it is None.
    """
    images = [DATASETS.load(name).info(root) for name in DATASETS.names()]
    return images + [GRAPHS.load(name).info(root) for name in GRAPHS.names()]
