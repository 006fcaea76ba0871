"""What a calibration has seen of each grid's tensors: exact, in a file, and the same in parts.

Statistics are counts and extremes, so parts of the data can be seen on several machines, or before
and after an interruption, and come to the numbers of one run, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeq.calibration.checked_plugins import CheckedObserver
    from edgeq.target import Batch

_AGAIN = "measure again with the settings that are asked for now"


@dataclass(frozen=True, slots=True)
class Origin:
    """What statistics are of.

    Attributes:
        network: SHA-256 of the prepared float graph, and of which tensors lie on which grid.
        observer: what measured them, with its settings.
        data: the name of the data.
    """

    network: str
    observer: str
    data: str

    def check(self, wanted: Origin, where: object) -> None:
        """Whether statistics of this origin can stand for others.

        Raises:
            ArtefactError: they cannot; names what differs.
        """
        names = {
            "network": "another network, another model rewriting, or other widths",
            "observer": f"the observer {self.observer!r}, and {wanted.observer!r} is asked for",
            "data": f"the data {self.data!r}, and {wanted.data!r} are asked for",
        }
        for name, value in asdict(wanted).items():
            if getattr(self, name) != value:
                raise ArtefactError(f"the statistics in {where} are of {names[name]}", hint=_AGAIN)


class Statistics:
    """Observers with what they have seen.

    Attributes:
        origin: what they belong to.
        observers: grid to its observer.
        make: makes an observer that has seen nothing.
        first: the number of the first batch; those of a shard do not begin with 0.
        digests: the SHA-256 of each batch that was seen, in order.
        samples: how many were seen.

    Args:
        origin: what they belong to.
        grids: the grids.
        make: makes an observer.
        first: the number of the first batch.
    """

    def __init__(
        self,
        origin: Origin,
        grids: Iterable[str],
        make: Callable[[], CheckedObserver],
        first: int = 0,
    ) -> None:
        self.origin, self.first, self.samples, self.make = origin, first, 0, make
        self.observers = {grid: make() for grid in grids}
        self.digests: list[bytes] = []

    @property
    def last(self) -> int:
        """The number behind that of the last batch seen."""
        return self.first + len(self.digests)

    @property
    def mergeable(self) -> bool:
        """Whether they can be kept in a file, and extended."""
        return all(observer.mergeable for observer in self.observers.values())

    @property
    def data_sha256(self) -> str:
        """Of all that was seen, as the network was fed it: the digests of its batches, digested."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    def was_seen(self, number: int, digest: bytes) -> bool:
        """Whether the batch of a number, counted from the first of these, was seen already.

        Raises:
            ArtefactError: another batch was.
        """
        if number >= len(self.digests):
            return False
        if self.digests[number] != digest:
            raise ArtefactError(
                f"batch {self.first + number} of {self.origin.data} is another one than the "
                "statistics were measured on",
                hint="the samples or their preprocessing have changed: measure again",
            )
        return True

    def extend(self, other: Statistics) -> None:
        """Take in what was seen behind this.

        Raises:
            ArtefactError: it is of another origin, or batches between them are missing.
        """
        other.origin.check(self.origin, "another shard")
        if other.first != self.last:
            raise ArtefactError(
                f"the statistics have the batches up to {self.last} and then those from "
                f"{other.first}",
                hint="give each shard once, all of them",
            )
        for grid, observer in self.observers.items():
            observer.merge(other.observers[grid].state())
        self.digests += other.digests
        self.samples += other.samples


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Several shards as one; the first of them is changed.

    Args:
        parts: at least one, in any order.

    Raises:
        ArtefactError: they are of different origins, or do not follow one another.
    """
    whole, *rest = sorted(parts, key=lambda part: part.first)
    for part in rest:
        whole.extend(part)
    return whole


def digest_of(batch: Batch) -> bytes:
    """The SHA-256 of a batch, as the network is fed it."""
    found = hashlib.sha256()
    arrays = batch if isinstance(batch, Mapping) else {"": batch}
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.digest()
