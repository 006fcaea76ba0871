"""From raw samples to what a network is fed, as data: it can be stored, compared and hashed.

The order is that of the fields: images are resized and cropped, or fitted into a frame; their
channels are put in order; numbers are scaled, the mean is subtracted, the deviation divided by; at
last come layout and type. Arithmetic is float32.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from edgeq.data.front_end import FrontEnd
from edgeq.data.geometry import (
    INTERPOLATIONS,
    Interpolation,
    Placement,
    crop,
    fitted_size,
    letterbox,
    resize,
    resized_size,
)
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Channels = Literal["rgb", "bgr", "grey", "grey-to-rgb"]
Layout = Literal["nchw", "nhwc"]
CHANNELS: tuple[Channels, ...] = get_args(Channels)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DTYPES = ("float32", "uint8", "int8", "int32", "int64")
LETTERBOX_GREY = 114
TO_ONE_SIZE = (
    "bring images to one size with --resize HEIGHTxWIDTH or --letterbox HEIGHTxWIDTH, and sound "
    "with --audio raw or --audio log-mel"
)
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to raw samples before a network sees them.

    Sizes, channels and layout are about images, (height, width, channels) of uint8; samples of
    another kind keep theirs. Integers of 32 bits and more, such as tokens, stay as they are.

    Attributes:
        resize: (shorter side,), in the image's proportions, or (height, width); empty for none.
        interpolation: how pixels between pixels are found.
        center_crop: (height, width) of the middle that is kept; empty for all.
        letterbox: (height, width) of a frame that the whole image is fitted into, in its
            proportions, in the middle; empty for none.
        fill: the level of what is around it.
        channels: the order of the colours that the network sees, or ``grey`` for their lightness,
            0.299 R + 0.587 G + 0.114 B, in one channel; ``grey-to-rgb`` gives images of one
            channel three equal ones.
        scale: what each number is multiplied by; 1/255 divides by 255.
        mean: per channel in that order, or one for all, subtracted after scaling. Samples that are
            no images have their channels last, or first where there are as many as means.
        std: likewise, divided by.
        layout: where the channels of an image stand.
        audio: what makes samples of one size of sound; None where there is no sound.
        dtype: NumPy's name for the type that is fed.

    Raises:
        UsageError: a value that cannot be; says which.
    """

    resize: tuple[int, ...] = ()
    interpolation: Interpolation = "bilinear"
    center_crop: tuple[int, ...] = ()
    letterbox: tuple[int, ...] = ()
    fill: int = LETTERBOX_GREY
    channels: Channels = "rgb"
    scale: Fraction = Fraction(1)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Layout = "nchw"
    audio: FrontEnd | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        sizes = {"resize": (1, 2), "center_crop": (2,), "letterbox": (2,)}
        for name, lengths in sizes.items():
            size = getattr(self, name)
            if size and (len(size) not in lengths or min(size) < 1):
                raise _wrong(name, size, "give height x width, such as 96x96")
        if self.letterbox and (self.resize or self.center_crop):
            raise UsageError(
                "an image is either fitted into a frame or resized and cropped",
                hint="give letterbox alone, or resize and center_crop",
            )
        words = {
            "interpolation": INTERPOLATIONS,
            "channels": CHANNELS,
            "layout": LAYOUTS,
            "dtype": DTYPES,
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise _wrong(name, getattr(self, name), f"use one of {', '.join(known)}")
        if not 0 <= self.fill <= 255:
            raise _wrong("fill", self.fill, "give a level of 0 to 255")
        if self.scale <= 0:
            raise _wrong("scale", self.scale, "give a positive number, such as 1/255")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or any(
            value <= 0 for value in self.std
        ):
            raise UsageError(
                f"mean {self.mean} and std {self.std} cannot normalise",
                hint="give finite means and positive deviations",
            )
        if len({1, len(self.mean or (0,)), len(self.std or (1,))}) > 2:
            raise UsageError(
                f"there are {len(self.mean)} means and {len(self.std)} deviations",
                hint="give one of each for each channel",
            )

    @classmethod
    def normalized(cls, mean: Sequence[float], std: Sequence[float]) -> Self:
        """Images scaled to 0..1, less a mean, over a deviation, as torchvision does it."""
        return cls(scale=Fraction(1, 255), mean=tuple(mean), std=tuple(std))

    @property
    def changes_size(self) -> bool:
        """Whether images may leave in another size than they came in."""
        return bool(self.resize or self.center_crop or self.letterbox)

    def apply(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A batch as the network is fed it.

        Args:
            raw: input name to samples, (n, *sample), or objects where they differ in size.

        Returns:
            The same names; float32, or the ``dtype``; integers of 32 bits and more as they came.

        Raises:
            UsageError: images of several sizes that nothing brings to one, a crop beyond an image,
                or another number of channels than means.
        """
        return {name: self.values(self.sized(samples)) for name, samples in raw.items()}

    def sized(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Images in the size of the network, still raw, and sound through its front end.

        Sound is what has one axis: recordings, or rows of an array of floats. Other samples stay as
        they are.

        Raises:
            UsageError: they differ in size and nothing brings them to one, or are smaller than the
                crop.
        """
        sound = self.audio is not None and samples.ndim == 2 and samples.dtype.kind == "f"
        to_size = is_image(samples) and self.changes_size
        if samples.dtype != object and not sound and not to_size:
            return samples
        found = [self._sized(sample) for sample in samples]
        if len({sample.shape for sample in found}) > 1:
            one, other = list({sample.shape for sample in found})[:2]
            raise UsageError(
                f"the samples differ in size: one is {_size(one)}, another {_size(other)}",
                hint=TO_ONE_SIZE,
            )
        return np.stack(found)

    def ordered(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Images in colour with their channels as the network sees them; others as they are."""
        if is_image(samples) and samples.shape[-1] == 1 and self.channels == "grey-to-rgb":
            return samples.repeat(3, axis=-1)
        if not is_image(samples) or samples.shape[-1] != 3 or self.channels.endswith("rgb"):
            return samples
        if self.channels == "bgr":
            return samples[..., ::-1]
        # in integers, as Pillow rounds it
        light = samples.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
        return ((light + (1 << 15)) >> 16).astype(np.uint8)[..., np.newaxis]

    def values(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Samples of one size as the network is fed them.

        Raises:
            UsageError: another number of channels than means.
        """
        if samples.dtype.kind in "iu" and samples.dtype.itemsize >= _TOKEN_BYTES:
            return samples
        images = is_image(samples)
        samples = self.ordered(samples)
        if images and self.layout == "nchw":
            samples = samples.transpose(0, 3, 1, 2)
        scaled = samples.astype(np.float32, order="C")
        if self.scale.numerator == 1:
            if self.scale != 1:
                scaled /= np.float32(self.scale.denominator)
        else:
            scaled *= np.float32(self.scale)
        for constants, step in ((self.mean, np.subtract), (self.std, np.divide)):
            if constants:
                step(scaled, self._along(constants, scaled.shape, images=images), out=scaled)
        return scaled if self.dtype == "float32" else _cast(scaled, self.dtype)

    def masks(self, masks: NDArray[Any]) -> NDArray[Any]:
        """Classes of pixels, (n, height, width), where the network sees the pixels.

        None is mixed from two, and what is around an image has the class 255, of which nothing is
        expected.
        """
        plain = replace(self, interpolation="nearest", fill=255)
        levels = masks.astype(np.uint8)[..., np.newaxis]
        return plain.sized(levels)[..., 0].astype(masks.dtype)

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """The size that an image of a size leaves with.

        Raises:
            UsageError: it is smaller than the crop.
        """
        if self.letterbox:
            return self.letterbox[0], self.letterbox[1]
        size = resized_size(height, width, self.resize) if self.resize else (height, width)
        if not self.center_crop:
            return size
        kept = self.center_crop[0], self.center_crop[1]
        if size[0] < kept[0] or size[1] < kept[1]:
            raise UsageError(
                f"an image of {_size(size)} has no middle of {_size(kept)}",
                hint="resize it before, or crop less",
            )
        return kept

    def placement(self, height: int, width: int) -> Placement:
        """Where the pixels of an image of a size come to lie."""
        if self.letterbox:
            size = fitted_size(height, width, self.letterbox)
            top, left = (
                (frame - side) // 2 for frame, side in zip(self.letterbox, size, strict=True)
            )
            return Placement((size[0] / height, size[1] / width), (top, left))
        size = resized_size(height, width, self.resize) if self.resize else (height, width)
        kept = self.center_crop or size
        top, left = ((side - part) // 2 for side, part in zip(size, kept, strict=True))
        return Placement((size[0] / height, size[1] / width), (-top, -left))

    def to_dict(self) -> dict[str, Any]:
        """What is not as it is by default, as JSON and TOML can hold it."""
        told = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        return {
            name: str(value)
            if isinstance(value, Fraction)
            else value.to_dict()
            if isinstance(value, FrontEnd)
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in told.items()
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave, or a person wrote: a size may be one number, too.

        Raises:
            UsageError: an unknown name, or a value that cannot be.
        """
        if not isinstance(told, Mapping):
            raise UsageError("preprocessing is told by name", hint="write a table of settings")
        known = [field.name for field in fields(cls)]
        for name in told:
            if name not in known:
                raise UsageError(
                    f"preprocessing has no {name!r}", hint=f"use some of {', '.join(known)}"
                )
        try:
            return cls(**{name: _read(name, value) for name, value in told.items()})
        except ZeroDivisionError as error:
            raise UsageError(
                "preprocessing cannot be read: its scale is a division by zero",
                hint='write a number or a fraction, such as scale = "1/255"',
            ) from error
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"preprocessing cannot be read: {error}",
                hint='write sizes as [96, 96], scale as "1/255", mean and std as lists',
            ) from error

    @property
    def sha256(self) -> str:
        """Of what it says, whichever order it was said in."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def described(self) -> str:
        """In words, for messages: ``resize 96x96, scale 1/255``; ``raw`` where nothing happens."""
        told = (f"{name} {_told(value)}" for name, value in self.to_dict().items())
        return ", ".join(told).replace("_", "-") or "raw"

    def matches(self, other: Preprocessing) -> bool:
        """Whether both are equal but for rounding: processors measure a mean in another order."""
        close = all(
            len(mine) == len(theirs)
            and all(
                math.isclose(*pair, rel_tol=1e-6, abs_tol=1e-9)
                for pair in zip(mine, theirs, strict=True)
            )
            for mine, theirs in ((self.mean, other.mean), (self.std, other.std))
        )
        return close and replace(self, mean=(), std=()) == replace(other, mean=(), std=())

    def with_values(self, other: Preprocessing) -> Preprocessing:
        """With the scale, mean and deviation of another."""
        return replace(self, scale=other.scale, mean=other.mean, std=other.std)

    def _sized(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.audio is not None and image.ndim == 1:
            return self.audio.apply(image)
        if image.ndim != 3 or image.dtype != np.uint8:
            return image
        size = self.size_of(image.shape[0], image.shape[1])
        if self.letterbox:
            return letterbox(image, size, self.interpolation, self.fill)
        if self.resize:
            sides = resized_size(image.shape[0], image.shape[1], self.resize)
            image = resize(image, sides, self.interpolation)
        return crop(image, size) if self.center_crop else image

    def _along(
        self, constants: tuple[float, ...], shape: tuple[int, ...], *, images: bool
    ) -> NDArray[np.float32]:
        """Constants along the channels: of images where the layout puts them, else at either end.

        Raises:
            UsageError: another number of channels than constants, or channels at either end.
        """
        count, ends = len(constants), [len(shape) - 1, 1]
        if images:
            ends = [1 if self.layout == "nchw" else len(shape) - 1]
        fitting = [axis for axis in ends if count in (1, shape[axis])]
        if not fitting:
            raise _other_channels([shape[axis] for axis in ends], count)
        if count > 1 and len(set(fitting)) > 1 and len(shape) > 3:
            raise UsageError(
                f"samples of {_size(shape[1:])} may have their {count} channels first or last",
                hint="normalise them before they are saved, or give one mean and one deviation",
            )
        by_axis = [1] * len(shape)
        by_axis[fitting[0]] = count
        return np.array(constants, np.float32).reshape(by_axis)


def is_image(samples: NDArray[Any]) -> bool:
    """Whether a batch holds images as edgeq keeps them: uint8, (n, height, width, channels)."""
    return samples.dtype == np.uint8 and samples.ndim == 4


def _cast(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    rounded = np.clip(np.rint(values), limits.min, limits.max)
    return rounded.astype(dtype)


def _read(name: str, value: Any) -> Any:
    if name in ("resize", "center_crop", "letterbox"):
        sizes = value if isinstance(value, list | tuple) else (value,)
        whole = tuple(int(side) for side in sizes)
        return whole * 2 if len(whole) == 1 and name != "resize" else whole
    if name in ("mean", "std"):
        return tuple(
            float(each) for each in (value if isinstance(value, list | tuple) else (value,))
        )
    if name == "audio":
        return value if isinstance(value, FrontEnd) else FrontEnd.from_dict(value)
    if name == "scale":
        return number(value).limit_denominator(1_000_000)
    return int(value) if name == "fill" else str(value)


def number(value: Any) -> Fraction:
    """A number as people write it: 0.5, 1/255 or 1/127.5."""
    above, stroke, below = str(value).partition("/")
    return Fraction(above) / Fraction(below) if stroke else Fraction(value)


def _wrong(name: str, value: object, hint: str) -> UsageError:
    return UsageError(f"preprocessing cannot have {name} {_told(value)}", hint=hint)


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ":".join([value["kind"], *(f"{k}={v}" for k, v in value.items() if k != "kind")])
    if isinstance(value, tuple | list):
        whole = all(isinstance(each, int) for each in value)
        return ("x" if whole else ",").join(f"{each:g}" for each in value)
    return str(value)


def _other_channels(sizes: Sequence[int], count: int) -> UsageError:
    """The error for samples whose channels are not as many as the constants."""
    told = " or ".join(map(str, dict.fromkeys(sizes)))
    hint = f"give {told} means and deviations, or one for all"
    if count == 3 and 1 in sizes:
        hint = (
            "where the network takes colours, --channels grey-to-rgb makes three channels of one; "
            "else give one mean and one deviation"
        )
    elif 3 in sizes:
        hint = "give three means and deviations, or one for all"
    return UsageError(
        f"samples of {told} {'channel' if told == '1' else 'channels'} are normalised by {count} "
        "constants",
        hint=hint,
    )


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
