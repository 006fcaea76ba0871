"""What the networks of a run are given.

Which samples, with which pixels and labels, and how these are normalised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.batching import CHUNK, parts_of, raw_batches
from edgeq.data.preprocessing import Preprocessing
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split


_HASHES = ("ids_sha256", "pixels_sha256", "labels_sha256", "unordered_sha256")


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """What the networks are given.

    Attributes:
        data: the data set's name.
        split: the part of it.
        samples: how many.
        classes: how many there are.
        preprocessing: how they are fed.
        ids_sha256: of the sample ids, int64, little-endian, in order.
        pixels_sha256: of what is fed, before it is normalised, in the same order.
        labels_sha256: of the labels, in the same order.
        unordered_sha256: of the pixels in whatever order: the sum of the samples' hashes.
    """

    data: str
    split: str
    samples: int
    classes: int
    preprocessing: Preprocessing
    ids_sha256: str
    pixels_sha256: str
    labels_sha256: str
    unordered_sha256: str

    @classmethod
    def of(cls, source: DataSource, split: str, part: Split) -> EvaluationData:
        """What a part of a data set comes to.

        Args:
            source: the data set, in the normalisation that is used.
            split: the name of the part.
            part: the samples of it that are used.
        """
        pixels, unordered = _pixels_sha256(part)
        return cls(
            source.name,
            split,
            len(part),
            len(source.classes),
            source.preprocessing,
            _sha256(part.ids.astype("<i8")),
            pixels,
            _labels_sha256(part),
            unordered,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        fed = self.preprocessing
        return {**told, "preprocessing": fed.to_dict(), "preprocessing_sha256": fed.sha256}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> EvaluationData:
        """What was written of it, with other things beside it.

        Raises:
            ValueError: a number is none.
            TypeError: likewise.
            KeyError: something is missing.
        """
        try:
            fed = Preprocessing.from_dict(content["preprocessing"])
        except UsageError as error:
            raise ValueError(error.what) from error
        data, split = str(content["data"]), str(content["split"])
        hashes = (str(content[name]) for name in _HASHES)
        return cls(data, split, int(content["samples"]), int(content["classes"]), fed, *hashes)

    def differs(self, then: EvaluationData) -> tuple[str, str] | None:
        """The first thing that is different now, and what to do about it; None for nothing."""
        if (self.data, self.split, self.samples) != (then.data, then.split, then.samples):
            what = "the baseline is about {} {}, {} samples, and this run about {} {}, {} samples"
            return what.format(
                then.data, then.split, then.samples, self.data, self.split, self.samples
            ), "run on the same samples"
        other_pixels = self.pixels_sha256 != then.pixels_sha256
        if other_pixels and self.unordered_sha256 == then.unordered_sha256:
            return (
                "the samples come in another order than the baseline's",
                "sort the files as they were sorted then",
            )
        if self.ids_sha256 != then.ids_sha256:
            hint = (
                "use the same files; where the first ones were taken, as earlier versions did, "
                f"--limit first:{then.samples} takes them"
            )
            return "the baseline is about other samples of the same data set", hint
        if self.classes != then.classes:
            return (
                f"the baseline is about {then.classes} classes, and this run about {self.classes}",
                "use the same files",
            )
        if other_pixels:
            return (
                "the samples have other pixels than the baseline's",
                "use the same files, read by the same decoder",
            )
        if self.labels_sha256 != then.labels_sha256:
            return (
                "the samples have other labels than the baseline's",
                "use the same labels, and the same order of classes",
            )
        if not self.preprocessing.matches(then.preprocessing):
            was, now = then.preprocessing.described(), self.preprocessing.described()
            return (
                f"the baseline's samples are fed with {was}, and this run's with {now}",
                "feed them as they were then, by --preprocess",
            )
        return None


def _pixels_sha256(part: Split) -> tuple[str, str]:
    """Of the samples in their order, and in whatever order; read a chunk at a time.

    The second is the sum of the samples' hashes modulo 2^256, so that none of them is kept.
    """
    ordered, total = hashlib.sha256(), 0
    for raw in raw_batches(part, CHUNK):
        for sample in zip(*raw.values(), strict=True):
            one = hashlib.sha256()
            _update(one, [np.asarray(each) for each in sample])
            ordered.update(one.digest())
            total += int.from_bytes(one.digest(), "little")
    size = ordered.digest_size
    return ordered.hexdigest(), (total % (1 << 8 * size)).to_bytes(size, "little").hex()


def _labels_sha256(part: Split) -> str:
    found = hashlib.sha256()
    if part.labels is not None:
        for where in parts_of(len(part), CHUNK):
            _update(found, part.labels[where])
    return found.hexdigest()


def _update(found: hashlib._Hash, values: Any) -> None:
    """Add the bytes of an array, of each item of a sequence, or of a record's fields."""
    if is_dataclass(values):
        values = [getattr(values, field.name) for field in fields(values)]
    if isinstance(values, np.ndarray) and values.dtype != object:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        found.update(np.ascontiguousarray(little).data)
    elif isinstance(values, str):
        found.update(values.encode("utf-8", "surrogateescape") + b"\0")
    elif values is not None:
        for value in values:
            _update(found, value)


def _sha256(*arrays: NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
