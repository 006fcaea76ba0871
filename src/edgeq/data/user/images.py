"""Image files, decoded when their batch is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.brief import brief
from edgeq.data.samples import Files, LeftOut, LookedAt, ragged
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 4096  # bytes at the end of a file, among which its end is marked
_PROBED = 8
_GREY = {"1", "L", "LA"}
_IN_SERIES = {"GIF", "PNG", "TIFF", "WEBP"}
_ORIENTATION, _UPRIGHT = 0x0112, (0, 1)  # EXIF's tag, and what it says of pixels that are upright
TRANSPARENCY = LeftOut(
    "transparency, which is left out",
    "where it counts, lay them on the background that the network was trained with",
)
ROTATION = LeftOut(
    "a rotation in their EXIF data, which is not applied",
    "where the network was trained on upright images, write them so, with "
    "PIL.ImageOps.exif_transpose for example",
)
FRAMES = LeftOut(
    "several frames, of which the first is read",
    "where others count, write each as a file of its own",
)
COLOUR = LeftOut(
    "colour, and are read in grey as those around them are",
    "keep images in grey apart from those in colour, or write all of them in one form",
)


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
        modes = [_mode(folder / paths[int(place)]) for place in places]
        return cls(folder, paths, mode_of([mode for mode in modes if mode] or ["RGB"]))

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        return ragged([_decode(path, self.mode) for path in self.at(where)])

    def look(self, place: int) -> LookedAt:
        """(height, width, channels); an image whose end is missing is decoded.

        Raises:
            ArtefactError: the file is missing, broken, or has more than 8 bits a channel.
        """
        from PIL import Image

        path = self.path(place)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                deep = _is_deep(image)
                besides = () if deep else tuple(left_out(image, self.mode))
                size, end = (image.height, image.width), _ENDS.get(image.format or "")
                if not deep and end is not None and end in _tail(path):
                    return LookedAt((*size, 1 if self.mode == "L" else 3), besides)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _broken(path, error) from error
        return LookedAt(_decode(path, self.mode).shape, besides)


def is_image_file(name: str) -> bool:
    """Whether the name of a file says so."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def is_image(value: object) -> bool:
    """Whether it is an image as Pillow holds them, without more than 8 bits a channel."""
    return hasattr(value, "getbands") and getattr(value, "mode", "I")[0] not in "IF"


def mode_of(modes: Iterable[str]) -> Literal["L", "RGB"]:
    """In which mode images of some modes are read."""
    return "L" if set(modes) <= _GREY else "RGB"


def pixels_of(image: Image, mode: str) -> NDArray[np.uint8]:
    """(height, width, channels) of an image that is open, in grey or in colour."""
    pixels = np.asarray(image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def left_out(image: Image, mode: str) -> Iterator[LeftOut]:
    """What an image holds besides the pixels that are read of it."""
    if image.format in _IN_SERIES and getattr(image, "n_frames", 1) > 1:
        yield FRAMES
    # Pillow turns a TIFF, and would decode a PNG to look for EXIF data behind the pixels
    told = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
    if told and image.getexif().get(_ORIENTATION, 1) not in _UPRIGHT:
        yield ROTATION
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        yield TRANSPARENCY
    coloured = mode == "L" and image.mode not in _GREY
    if coloured and np.ptp(np.asarray(image.convert("RGB")), axis=2).any():
        yield COLOUR


def _is_deep(image: Image) -> bool:
    """Whether it has more than 8 bits a channel, of which Pillow would read the upper ones."""
    if image.mode[0] in "IF":
        return True
    tiles = [(tile.codec_name, tile.args) for tile in getattr(image, "tile", ())]
    return any(
        ";16" in str(args) or (codec == "ppm" and isinstance(args, tuple) and args[-1] > 255)
        for codec, args in tiles
    )


def _mode(path: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _tail(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        return file.read()


def _decode(path: str, mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            if _is_deep(image):
                raise ArtefactError(
                    f"{path} has more than 8 bits a channel",
                    hint="save it with 8 bits, or the numbers as an array in a .npy file",
                )
            return pixels_of(image, mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _broken(path: str, error: Exception) -> ArtefactError:
    from PIL import UnidentifiedImageError

    known = f"it is none of {', '.join(_FORMATS)}"
    why = known if isinstance(error, UnidentifiedImageError) else error
    return ArtefactError(
        f"{path} cannot be read as an image: {why}",
        hint="write it again, or take it out; edgeq calibrate --skip-broken leaves such files out",
    )
