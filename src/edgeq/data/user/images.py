"""Image files, decoded when their batch is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.brief import brief
from edgeq.data.samples import Files, ragged
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 4096  # bytes at the end of a file, among which its end is marked
_PROBED = 8
_GREY = {"1", "L", "LA"}


@dataclass(frozen=True, slots=True, eq=False)
class ImageFiles(Files):
    """Images in files, each uint8, (height, width, channels); they may differ in size.

    Attributes:
        mode: whether they are read in grey, with one channel, or in colour.
    """

    mode: Literal["L", "RGB"]

    __repr__ = brief

    @property
    def are_images(self) -> bool:
        """Always."""
        return True

    @classmethod
    def of(cls, folder: Path, paths: Sequence[str]) -> ImageFiles:
        """Files that are read in grey where some of them, evenly spread, are all grey.

        One that is broken is told of when it is read.
        """
        places = np.linspace(0, len(paths) - 1, min(len(paths), _PROBED)).astype(int)
        modes = {_mode(folder / paths[int(place)]) for place in places} - {None}
        grey = bool(modes) and modes <= _GREY
        return cls(folder, paths, "L" if grey else "RGB")

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        return ragged([_decode(path, self.mode) for path in self.at(where)])

    def look(self, place: int) -> tuple[int, ...]:
        """(height, width, channels); an image whose end is missing is decoded.

        Raises:
            ArtefactError: the file is missing, broken, or has more than 8 bits a pixel.
        """
        from PIL import Image

        path = self.folder / self.paths[place]
        try:
            with Image.open(path, formats=_FORMATS) as image:
                size, end = (image.height, image.width), _ENDS.get(image.format or "")
                if image.mode[0] not in "IF" and end is not None and end in _tail(path):
                    return (*size, 1 if self.mode == "L" else 3)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _broken(path, error) from error
        return _decode(path, self.mode).shape


def is_image_file(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _mode(path: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        return file.read()


def _decode(path: Path, mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.mode[0] in "IF":
                raise ArtefactError(
                    f"{path} has more than 8 bits a pixel",
                    hint="save it with 8 bits, or the numbers as an array in a .npy file",
                )
            pixels = np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _broken(path: Path, error: Exception) -> ArtefactError:
    from PIL import UnidentifiedImageError

    known = f"it is none of {', '.join(_FORMATS)}"
    why = known if isinstance(error, UnidentifiedImageError) else error
    return ArtefactError(
        f"{path} cannot be read as an image: {why}",
        hint="write it again, or take it out; edgeq calibrate --skip-broken leaves such files out",
    )
