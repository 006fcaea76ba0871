"""Data sets by the name a user types, or by the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.data.readers.npz import FILES, load_folder
from edgeq.errors import ArtefactError, UnknownName, UsageError
from edgeq.registry import Registry

if TYPE_CHECKING:
    from edgeq.data.dataset import Dataset, DatasetInfo, GraphDataset
    from edgeq.data.graph import GraphData
    from edgeq.data.source import DataSource

DATASETS: Registry[Dataset] = Registry("dataset")
GRAPHS: Registry[GraphDataset] = Registry("graph")


def load(name_or_folder: str, root: Path | None = None) -> DataSource:
    """Read a data set into memory.

    Args:
        name_or_folder: a registered name, or a folder that holds ``train.npz`` and ``test.npz``.
        root: the folder that holds the registered ones; the one that ``EDGEQ_DATA`` names where it
            is None.

    Raises:
        UnknownName: neither registered nor a folder.
        UsageError: it is a graph, or it is read from files and no folder of data is named.
        ArtefactError: its files are missing or broken.
    """
    known = DATASETS.names()
    if name_or_folder in GRAPHS.names():
        raise UsageError(
            f"{name_or_folder} is a graph, and images are needed here",
            hint=f"use one of {', '.join(known)}, or train a graph network",
        )
    if name_or_folder in known:
        return DATASETS.load(name_or_folder)(root)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return load_folder(folder)
    if os.sep in name_or_folder:
        raise ArtefactError(
            f"there is no folder at {folder}",
            hint=f"name a folder that holds {' and '.join(FILES)}",
        )
    raise UnknownName("data set", name_or_folder, known)


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
