"""Folders of images or sound: a folder for each class, or all in one and no labels.

Either may stand below ``train``, ``val`` and ``test``. A file ``classes.txt`` beside them names the
classes in the order of the network; else they are sorted by name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edgeq.data.samples import Names
from edgeq.data.user.assemble import PARTS, assemble, numbered, of_files
from edgeq.data.user.images import is_image_file
from edgeq.data.user.wav import is_sound_file
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from edgeq.data.source import DataSource

CLASSES_FILE = "classes.txt"
MAX_CLASSES_BYTES = 1 << 20
LAYOUT = """lay it out so, or without train and test, or without the classes:
    photos/train/cat/1.jpg
    photos/train/dog/2.jpg
    photos/test/cat/3.jpg
    photos/test/dog/4.jpg
  also read: .wav files so, train.npz and test.npz, .npy files, a manifest.csv, COCO's JSON"""

_IMAGES = ("image", "images", "img", "imgs", "jpegimages")
_LABELS = ("mask", "masks", "label", "labels", "annotation", "annotations", "segmentationclass")
_MARK = re.compile(r"[ _.-]*(mask|label|labelid|annotation|seg|gt)s?$")
"""What people add to the name of an image for the name of its labels."""
_TEXTS = (".txt", ".xml", ".json")
_ARRAYS_OF_MASKS = """put masks into arrays, the number of a class a pixel; without train and test \
it is read too:
    seg/train/inputs.npy    (samples, height, width, channels)
    seg/train/labels.npy    (samples, height, width)
    seg/test/inputs.npy
    seg/test/labels.npy"""
_BOXES_IN_COCO = "write boxes and keypoints as COCO's JSON, and put it beside the images"


def has_media(folder: Path) -> bool:
    """Whether an image or a sound is in the folder or below it."""
    return any(files for _, files in _walked(folder))


def load_files(folder: Path) -> DataSource:
    """The images or sounds in a folder.

    Raises:
        ArtefactError: there are none, some stand beside folders of others, or one is broken.
    """
    _refuse_labels_in_files(folder)
    children = [each for each in _folders(folder) if has_media(each)]
    found = {PARTS.get(child.name.lower()): child for child in children}
    if children and None not in found:
        folders = {part: child for part, child in found.items() if part is not None}
    else:
        folders = {"test": folder}
    listed = {part: _Listed.of(each, folder) for part, each in folders.items()}
    for part, files in listed.items():
        if not len(files.paths):
            raise _wrong(folders[part], "holds no images and no .wav files")
    _refuse_empty_classes(folder, folders)
    labels = sorted({label for files in listed.values() for label in files.classes})
    known = _known_classes(folder, labels)
    names = numbered(labels, known)[1] if labels else known
    parts = {}
    for part, files in listed.items():
        numbers = numbered(files.classes, names)[0].repeat(files.counts) if files.classes else None
        parts[part] = of_files(folder, files.paths, numbers)
    source = assemble(folder.name, parts, names)
    return replace(source, order=CLASSES_FILE) if known else source


def _refuse_labels_in_files(folder: Path) -> None:
    """Images, and a file of labels for each, are no two classes."""
    if (folder / CLASSES_FILE).is_file():
        return
    parts = [child for child in _folders(folder) if child.name.lower() in PARTS]
    for part in (folder, *parts):
        below = _folders(part)
        images, labels = (
            next((child for child in below if child.name.lower() in names), None)
            for names in (_IMAGES, _LABELS)
        )
        if images is None or labels is None or len(below) != 2:
            continue
        of_images, of_labels = _stems(images), _stems(labels)
        paired = of_images & of_labels.keys()
        if not paired or 2 * len(paired) < len(of_labels):
            continue
        texts = any(of_labels[stem].lower().endswith(_TEXTS) for stem in paired)
        raise ArtefactError(
            f"{part} holds the folders {images.name} and {labels.name}, in which "
            f"{counted(len(paired), 'name', 'are')} alike: "
            f"{labels.name} holds labels of {images.name}, and is no class",
            hint=f"{_BOXES_IN_COCO if texts else _ARRAYS_OF_MASKS}; where they are two classes, "
            f"list them in {folder / CLASSES_FILE}",
        )


def _stems(folder: Path) -> dict[str, str]:
    """The files of a folder and below it, by their names without what marks them as labels."""
    return {
        _MARK.sub("", Path(name).stem.lower()): name
        for _, _, files in os.walk(folder)
        for name in files
        if not name.startswith(".")
    }


def _refuse_empty_classes(folder: Path, folders: Mapping[str, Path]) -> None:
    """A class without any file would move the numbers of those behind it."""
    if (folder / CLASSES_FILE).is_file():
        return
    held = {child.name for part in folders.values() for child in _folders(part) if has_media(child)}
    for part in folders.values():
        for child in _folders(part) if held else ():
            if child.name not in held and not any(child.iterdir()):
                raise ArtefactError(
                    f"the folder {child} is empty, so {child.name} would be no class, and those "
                    "behind it would move",
                    hint=f"put files into it, take it out, or list all classes in "
                    f"{folder / CLASSES_FILE}",
                )


@dataclass(frozen=True, slots=True)
class _Listed:
    """The files of a folder, class by class.

    Attributes:
        paths: below the top, those of a class together.
        classes: their names; none where the folder has none.
        counts: how many files of each class there are.
    """

    paths: Names
    classes: list[str]
    counts: list[int]

    @classmethod
    def of(cls, folder: Path, top: Path) -> Self:
        here = next(_walked(folder), (folder, []))[1]
        deeper = [each for each in _folders(folder) if has_media(each)]
        if here and deeper:
            raise _wrong(folder, f"holds {here[0]} beside the folder {deeper[0].name}")
        for each in deeper:
            inner = next((one for one in _folders(each) if one.name.lower() in PARTS), None)
            if inner is not None and has_media(inner):
                raise ArtefactError(
                    f"{folder} holds whole data sets: {each.name} has a folder {inner.name}",
                    hint=f"name one of them: {each}",
                )
        if here:
            return cls(Names.of(_below(folder, here, top)), [], [])
        counts = [0] * len(deeper)

        def paths() -> Iterator[str]:
            for number, child in enumerate(deeper):
                for root, files in _walked(child):
                    counts[number] += len(files)
                    yield from _below(root, files, top)

        return cls(Names.of(paths()), [child.name for child in deeper], counts)


def _walked(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from one downwards, and the sorted names of the images or sounds in it."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), sorted(filter(_is_media, files))


def _below(folder: Path, names: Iterable[str], top: Path) -> Iterator[str]:
    """The paths of files in a folder, from another folder above it."""
    here = folder.relative_to(top)
    before = "" if here == Path() else f"{here}{os.sep}"
    return (before + name for name in names)


def _folders(folder: Path) -> list[Path]:
    return [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]


def _is_media(name: str) -> bool:
    return is_image_file(name) or is_sound_file(name)


def _known_classes(folder: Path, labels: list[str]) -> list[str]:
    path = folder / CLASSES_FILE
    if not path.is_file():
        return []
    text = read_bytes(path, "list of classes", limit=MAX_CLASSES_BYTES).decode("utf-8", "replace")
    known = [line.strip() for line in text.splitlines() if line.strip()]
    missing = [label for label in labels if label not in known]
    if missing or len(set(known)) != len(known):
        what = f"does not name {missing[0]!r}" if missing else "names a class twice"
        raise ArtefactError(f"{path} {what}", hint="write each class once, in the network's order")
    return known


def _wrong(folder: Path, what: str) -> ArtefactError:
    return ArtefactError(f"{folder} {what}", hint=LAYOUT)
