"""Images of every kind give the values that other tools read, or a clear word of what they hold."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgeq.data import load
from edgeq.data.checks import check
from edgeq.data.preprocessing import Preprocessing
from edgeq.deploy.cli import run
from edgeq.errors import ArtefactError, SamplesReduced

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
GREY = Image.fromarray(PIXELS[..., 0])
PALETTE = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "P")
PALETTE.putpalette(PIXELS.tobytes())
HALF = np.full((8, 8, 1), 128, np.uint8)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def written(image: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def png16(colour: int, channels: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check_sum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check_sum

    head = struct.pack(">IIBBBBB", 4, 4, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(8 * channels) for _ in range(4))
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def read(folder: Path, content: bytes, name: str = "a.png") -> NDArray[np.uint8]:
    (folder / name).write_bytes(content)
    part = load(str(folder)).test
    check(part, Preprocessing())
    image: NDArray[np.uint8] = part.images[:1][0]
    return image


@pytest.mark.parametrize(
    ("image", "kind", "wanted"),
    [
        (RGB, "PNG", PIXELS),
        (RGB, "PPM", PIXELS),
        (RGB, "TIFF", PIXELS),
        (GREY, "PNG", PIXELS[..., :1]),
        (Image.fromarray(PIXELS[..., 0] > 127), "PNG", 255 * (PIXELS[..., :1] > 127)),
        (PALETTE, "PNG", PIXELS),
        (RGB.convert("CMYK"), "TIFF", np.asarray(RGB.convert("CMYK").convert("RGB"))),
        (Image.fromarray(np.concatenate([PIXELS, HALF | 255], 2)), "PNG", PIXELS),
    ],
    ids=["colour", "ppm", "tiff", "grey", "two levels", "palette", "cmyk", "opaque"],
)
def test_every_form_has_the_right_pixels(
    image: Image.Image, kind: str, wanted: NDArray[np.uint8], tmp_path: Path
) -> None:
    found = read(tmp_path, written(image, kind))
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() == 0


@pytest.mark.parametrize(
    ("content", "wanted", "what"),
    [
        (written(Image.fromarray(np.concatenate([PIXELS, HALF], 2)), "PNG"), PIXELS, "transp"),
        (written(PALETTE, "PNG", transparency=3), PIXELS, "transparency"),
        (written(RGB, "PNG", transparency=tuple(PIXELS[0, 0].tolist())), PIXELS, "transparency"),
        (written(RGB, "PNG", exif=turned()), PIXELS, "a rotation in their EXIF data"),
        (written(GREY, "GIF", save_all=True, append_images=[GREY.rotate(90)]),
         PIXELS[..., [0, 0, 0]], "several frames, of which the first is read"),
        (written(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]), PIXELS, "frames"),
    ],
    ids=["alpha", "palette", "one colour", "turned", "gif", "apng"],
)  # fmt: skip
def test_what_is_not_read_is_said(
    content: bytes, wanted: NDArray[np.uint8], what: str, tmp_path: Path
) -> None:
    with pytest.warns(SamplesReduced, match=what) as told:
        found = read(tmp_path, content)
    assert str(tmp_path) in str(told[0].message)
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "content",
    [
        *(png16(colour, channels) for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4))),
        b"P6 2 2 65535\n" + bytes(24),
        b"P5 2 2 65535\n" + bytes(8),
        written(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"),
    ],
    ids=["grey", "colour", "grey and alpha", "colour and alpha", "ppm", "pgm", "float"],
)
def test_more_than_eight_bits_a_channel_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="more than 8 bits a channel"):
        read(tmp_path, content)


def test_a_colour_image_among_grey_ones_is_said(tmp_path: Path) -> None:
    for number in range(30):
        (RGB if number == 1 else GREY).save(tmp_path / f"{number:02}.png")
    part = load(str(tmp_path)).test
    with pytest.warns(SamplesReduced, match="colour, and are read in grey"):
        check(part, Preprocessing())


def test_edgeq_data_counts_them_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.png"):
        RGB.save(folder / name, exif=turned())
    assert run(["data", str(tmp_path / "photos")]) == 0
    said = capsys.readouterr().err
    assert "in test 2 of 2 files hold a rotation" in said
    assert "first cat/1.png" in said


def test_a_warning_is_one_note(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeq.deploy.console import warnings_told

    with warnings_told():
        for _ in range(2):
            warnings.warn(SamplesReduced("files hold more", hint="look"), stacklevel=1)
    assert capsys.readouterr().err == "edgeq: files hold more\n  hint: look\n"
