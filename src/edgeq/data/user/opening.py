"""Which reader a folder or file of the user's is for."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from edgeq.data.readers.npz import FILES, load_folder
from edgeq.data.user import manifest
from edgeq.data.user.arrays import array_parts, load_array_file, of_arrays
from edgeq.data.user.coco import annotations_in, is_coco, load_coco
from edgeq.data.user.folders import LAYOUT, has_media, load_files
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data.source import DataSource

FILE_SUFFIXES = (".npy", ".npz", *manifest.SUFFIXES)
_MANIFESTS = tuple(f"manifest{suffix}" for suffix in manifest.SUFFIXES)
_PUBLISHED = {"images", "jpeg", "offsets", "labels", "classes", "words", "wnids", "official_index"}


def load_path(path: Path) -> DataSource:
    """The user's own data: a folder, a manifest, COCO's JSON, or arrays.

    Raises:
        ArtefactError: there is nothing there, it is nothing that is read, or it is broken; shows
            what is.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise ArtefactError(f"there is no folder and no file at {path}", hint=LAYOUT)
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return load_array_file(path)
    if suffix not in manifest.SUFFIXES:
        raise ArtefactError(f"{path} is no data that edgeq reads", hint=LAYOUT)
    if suffix == ".json" and is_coco(path):
        return load_coco({"test": path}, path.stem)
    return manifest.load_manifest(path)


def _of_folder(folder: Path) -> DataSource:
    if _is_published(folder):
        return load_folder(folder)
    table = next((folder / name for name in _MANIFESTS if (folder / name).is_file()), None)
    if table is not None:
        return manifest.load_manifest(table)
    annotations = annotations_in(folder)
    if annotations:
        return load_coco(annotations, folder.name)
    parts = array_parts(folder)
    if parts:
        return of_arrays(folder.name, parts, folder)
    if has_media(folder):
        return load_files(folder)
    held = sorted(each.name for each in folder.iterdir())
    told = f"holds {', '.join(held[:3])}{' …' if len(held) > 3 else ''}" if held else "is empty"
    raise ArtefactError(f"{folder} {told}, and no data that edgeq reads", hint=LAYOUT)


def _is_published(folder: Path) -> bool:
    """Whether it holds ``train.npz`` and ``test.npz`` with eight-bit images, or broken ones."""
    paths = [folder / name for name in FILES]
    return all(path.is_file() for path in paths) and all(map(_may_hold_images, paths))


def _may_hold_images(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return True  # its reader tells what is wrong
    return held <= _PUBLISHED
