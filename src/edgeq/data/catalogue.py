"""Data sets by the name a user types, or by the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.data.npz import FILES, load_folder
from edgeq.errors import ArtefactError, UnknownName
from edgeq.registry import Registry

if TYPE_CHECKING:
    from edgeq.data.dataset import Dataset, DatasetInfo
    from edgeq.data.source import DataSource

DATASETS: Registry[Dataset] = Registry("dataset")


def load(name_or_folder: str, root: Path | None = None) -> DataSource:
    """Read a data set into memory.

    Args:
        name_or_folder: a registered name, or a folder that holds ``train.npz`` and ``test.npz``.
        root: the folder that holds the registered ones; the one that ``EDGEQ_DATA`` names where it is None.

    Raises:
        UnknownName: neither registered nor a folder.
        UsageError: it is read from files and no folder of data is named.
        ArtefactError: its files are missing or broken.
    """
    known = DATASETS.names()
    if name_or_folder in known:
        return DATASETS.load(name_or_folder)(root)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return load_folder(folder)
    if os.sep in name_or_folder:
        raise ArtefactError(f"there is no folder at {folder}", mend=f"name a folder that holds {' and '.join(FILES)}")
    raise UnknownName("data set", name_or_folder, known)


def info(root: Path | None = None) -> list[DatasetInfo]:
    """What is registered and whether it can be read here; looks for files and opens none.

    Args:
        root: the folder of data; the one that ``EDGEQ_DATA`` names where it is None.
    """
    return [DATASETS.load(name).info(root) for name in DATASETS.names()]
