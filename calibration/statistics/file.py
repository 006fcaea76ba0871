"""Statistics, and what methods have done so far, as one safetensors file.

The JSON in its header says what the arrays are. Nothing in it can run code, and the same content
always makes the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import safetensors.numpy

import edgeq
from edgeq.brief import brief
from edgeq.calibration.statistics import Origin, Statistics
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeq.calibration.checked_plugins import CheckedObserver

FORMAT = "edgeq.statistics/1"
_OTHER = "it is broken or no such file: remove it, and measure again"


@dataclass(slots=True)
class MethodRecord:
    """The constants that a method has changed so far, by name.

    Attributes:
        name: the method, as it was asked for.
        constants: the integers, scales and zero points that a layer has now.
        layers: the layers that are done.
        done: whether the method is through.
    """

    name: str
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    done: bool = False

    __repr__ = brief


def to_bytes(
    statistics: Statistics, total: int | None = None, methods: list[MethodRecord] | None = None
) -> bytes:
    """The file's content.

    Args:
        statistics: what was seen.
        total: how many batches there are in all shards, where that is known.
        methods: what methods have done.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for number, observer in enumerate(statistics.observers.values()):
        arrays |= {f"observer/{number}/{key}": each for key, each in observer.state().items()}
    for number, method in enumerate(methods or []):
        arrays |= {f"method/{number}/{key}": each for key, each in method.constants.items()}
    about = {
        "format": FORMAT,
        "edgeq_version": edgeq.__version__,
        "origin": asdict(statistics.origin),
        "first": statistics.first,
        "total": total,
        "samples": statistics.samples,
        "digests": [digest.hex() for digest in statistics.digests],
        "grids": list(statistics.observers),
        "methods": [
            {"name": each.name, "layers": each.layers, "done": each.done} for each in methods or []
        ],
    }
    return safetensors.numpy.save(arrays, {"edgeq": json.dumps(about)})


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Attributes:
        statistics: what was seen.
        total: how many batches there are in all shards; None where that is not known.
        methods: what methods have done.
    """

    statistics: Statistics
    total: int | None
    methods: list[MethodRecord]


def from_bytes(
    content: bytes,
    make: Callable[[], CheckedObserver],
    where: object,
    wanted: Origin | None = None,
    measured_by: str | None = None,
) -> Content:
    """The inverse of :func:`to_bytes`.

    Args:
        content: of the file.
        make: makes an observer.
        where: the file, for messages.
        wanted: what the statistics have to be of; None for anything.
        measured_by: the observer that has to have seen them, where no more is known; None for any.

    Raises:
        ArtefactError: it is broken, of another version, or of something else.
    """
    about, arrays = _parts(content, where)
    if about.get("format") != FORMAT:
        raise ArtefactError(
            f"{where} is {about.get('format')!r}, not {FORMAT!r}",
            hint="use the edgeq that wrote it, or measure again",
        )
    try:
        origin = Origin(**about["origin"])
        if wanted is not None:
            origin.check(wanted, where)
        if measured_by is not None:
            origin.check(replace(origin, observer=measured_by), where)
        statistics = Statistics(origin, about["grids"], make, int(about["first"]))
        for number, observer in enumerate(statistics.observers.values()):
            observer.merge(_under(f"observer/{number}/", arrays))
        statistics.digests = [bytes.fromhex(digest) for digest in about["digests"]]
        statistics.samples = int(about["samples"])
        methods = [
            MethodRecord(constants=_under(f"method/{number}/", arrays), **each)
            for number, each in enumerate(about["methods"])
        ]
        total = None if about["total"] is None else int(about["total"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtefactError(f"{where} is incomplete: {error}", hint=_OTHER) from error
    return Content(statistics, total, methods)


def _parts(content: bytes, where: object) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        length = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["edgeq"])
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{where} holds no statistics", hint=_OTHER) from error
    if not isinstance(about, dict):
        raise ArtefactError(f"{where} holds no statistics", hint=_OTHER)
    return about, arrays


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
