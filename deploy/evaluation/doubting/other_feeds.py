"""Other ways to feed the same samples: what is confused most when networks change hands."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from edgeq.data.statistics import MNIST
from edgeq.deploy.preprocessing import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.data import DataSource, Preprocessing

_LEVELS_RGB = (123.68, 116.78, 103.94)
"""The mean of ImageNet's pixels, which networks of Caffe take away and divide by nothing."""
_CROPPED = Fraction(256, 224)
"""What the shorter side is to what is kept of it, in most recipes of ImageNet."""
_IMAGE_RANK = 3


def others(source: DataSource) -> Iterator[tuple[str, Preprocessing]]:
    """Flags, and what they make of the preprocessing in use; each once."""
    used = source.preprocessing
    known = [used]
    for flags, other in _all(source):
        if not any(other.matches(each) for each in known):
            known.append(other)
            yield flags, other


def _all(source: DataSource) -> Iterator[tuple[str, Preprocessing]]:
    used, kept = source.preprocessing, _kept(source)
    colours = 3 in next(iter(source.shapes.values()))
    mixed = "" if used.channels == "rgb" else f" --channels {used.channels}"
    if used.channels == "bgr" and colours:
        yield f"--channels rgb{kept}", replace(used, channels="rgb")
    for flags, other in [("", used), *_values(source, colours=colours)]:
        yield f"{flags}{mixed if other.channels == used.channels else ''}{kept}", other
        if other.channels == "rgb" and colours:
            yield f"{flags} --channels bgr{kept}".strip(), replace(other, channels="bgr")
    for flags, other in _sizes(source):
        yield f"{flags}{mixed}{_rest(used)}", other


def _values(source: DataSource, *, colours: bool) -> Iterator[tuple[str, Preprocessing]]:
    """Other numbers of the same pixels."""
    known, own = named(source), source.own_preprocessing
    plain = known["raw"]
    unit = replace(plain, scale=Fraction(1, 255))
    if own is not None:
        yield "--preprocess dataset", plain.with_values(own)
    yield "--preprocess raw", plain
    yield "--preprocess raw --scale 1/255", unit
    yield "--preprocess raw --mean 127.5 --std 127.5", replace(plain, mean=(127.5,), std=(127.5,))
    if colours:
        yield "--preprocess imagenet", known["imagenet"]
        order = _LEVELS_RGB[::-1] if plain.channels == "bgr" else _LEVELS_RGB
        yield f"--preprocess raw --mean {_list(order)}", replace(plain, mean=order)
        if plain.channels == "rgb":
            levels = _LEVELS_RGB[::-1]
            yield (
                f"--preprocess raw --mean {_list(levels)} --channels bgr",
                replace(plain, mean=levels, channels="bgr"),
            )
    else:
        mean, std = MNIST
        flags = f"--preprocess raw --scale 1/255 --mean {_list(mean)} --std {_list(std)}"
        yield flags, replace(unit, mean=mean, std=std)


def _sizes(source: DataSource) -> Iterator[tuple[str, Preprocessing]]:
    """Other ways from the same images to the same size."""
    used, shape = source.preprocessing, next(iter(source.shapes.values()))
    if not used.changes_size or len(shape) != _IMAGE_RANK:
        return
    height, width = shape[1:] if used.layout == "nchw" else shape[:2]
    size = f"{height}x{width}"
    plain = replace(used, resize=(), center_crop=(), letterbox=())
    yield f"--resize {size}", replace(plain, resize=(height, width))
    short = min(height, width)
    for side in (round(short * _CROPPED), short):
        yield (
            f"--resize {side} --center-crop {size}",
            replace(plain, resize=(side,), center_crop=(height, width)),
        )
    yield f"--letterbox {size}", replace(plain, letterbox=(height, width))


def _list(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{each:g}" for each in numbers)


def _rest(used: Preprocessing) -> str:
    layout = f" --layout {used.layout}" if used.layout != "nchw" else ""
    return layout + (f" --dtype {used.dtype}" if used.dtype != "float32" else "")


def _kept(source: DataSource) -> str:
    """The flags of what stays as it is, of which a file may note nothing."""
    used, told = source.preprocessing, ""
    for name in ("resize", "center_crop", "letterbox"):
        if size := getattr(used, name):
            told += f" --{name.replace('_', '-')} {'x'.join(map(str, size))}"
    if used.interpolation != "bilinear" and used.changes_size:
        told += f" --interpolation {used.interpolation}"
    return told + _rest(used)
