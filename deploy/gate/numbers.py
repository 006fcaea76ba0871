"""The integers of a file in short: a digest of each part, so that a changed one can be named.

A baseline cannot hold whole files. It holds for each layer, grid and operator a digest with what a
person can read: how many integers, their sum, a scale. So one changed integer is found, and told
with the layer that it is in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.deploy.diff.contents import read
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

_DIGEST = 12  # hexadecimal digits
_SHOWN = 400  # characters of an operator's settings
_SHOWN_BEFORE = 80  # in baselines of earlier versions, which say no more of them
_SETTING = re.compile(r"(\w+) (\([^)]*\)?|[^,()]+)")
_REST = "the file|stored numbers"
"""All that a file stores together, so that a number in no known part is missed neither."""


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a file that is different now.

    Attributes:
        where: the layer, tensor or operator.
        what: what of it: its weights, bias, weight scale, grid, attributes or constants.
        before: in short; empty where it is new.
        now: in short; empty where it is gone.
    """

    where: str
    what: str
    before: str
    now: str

    @property
    def told(self) -> str:
        """It in words."""
        if not self.before or not self.now:
            return f"{self.what} of {self.where!r} {'is new' if self.now else 'is gone'}"
        before, now = (each.rpartition(" #")[0] or each for each in (self.before, self.now))
        if self.what == "operator":
            return f"operator {self.where!r}: {_apart(before, now)}"
        became = f": {before} became {now}" if before != now else f", {now}, with the same sum"
        return f"{self.what} of {self.where!r}{became}"


def numbers_of(path: Path) -> dict[str, str]:
    """What a file holds, ``part of it | what`` to it in short.

    Raises:
        ArtefactError: it is missing or broken.
    """
    return _by_name(_parts(path))


def _by_name(parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parts by name; those of one name are told apart by a number."""
    found: dict[str, str] = {}
    for key, told in parts:
        where, what = _place(key)
        name, number = key, 1
        while name in found:
            number += 1
            name = f"{where} ({number})|{what}"
        found[name] = told
    return found


def _parts(path: Path) -> Iterator[tuple[str, str]]:
    held = read(path, defaults=False)
    for layer in held.view.layers:
        yield from _of_layer(layer.node, layer.weights, layer.bias, layer.weight_grid)
    for activation in held.view.activations:
        yield f"{activation.name}|grid", _grid(activation.grid)
    if held.kind == "checkpoint":
        return
    for operator in held.operators:
        constants = [each.values for each in operator.inputs if each and each.values is not None]
        settings = ", ".join(f"{name} {value}" for name, value in operator.attributes.items())
        digest = _digest(settings.encode())
        yield f"{operator.name}|operator", f"{operator.op_type} {settings[:_SHOWN]} #{digest}"
        if constants:
            stored = b"".join(np.ascontiguousarray(each).tobytes() for each in constants)
            size = sum(each.size for each in constants)
            yield f"{operator.name}|constants", f"{size:,} numbers #{_digest(stored)}"
    arrays = list(_constants_of_onnx(path) if held.kind == "onnx" else _constants_of_tflite(path))
    digests = sorted(
        _digest(f"{each.dtype}{each.shape}".encode() + each.tobytes()) for each in arrays
    )
    yield _REST, f"{len(arrays):,} arrays #{_digest(''.join(digests).encode())}"


def _constants_of_onnx(path: Path) -> Iterator[NDArray[Any]]:
    """Every array that a file stores, in whatever part of it."""
    from edgeq.formats.onnx_io import read as read_model

    for graph in read_model(path).graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield np.ascontiguousarray(value.const_value.numpy())
        for node in graph:
            for attribute in node.attributes.values():
                if hasattr(attribute.value, "numpy"):
                    yield np.ascontiguousarray(attribute.value.numpy())


def _constants_of_tflite(path: Path) -> Iterator[NDArray[Any]]:
    from edgeq.formats.tflite_file import graphs_of

    for graph in graphs_of(read_bytes(path, "TFLite model")):
        for tensor in graph.tensors:
            if tensor.data is not None:
                yield np.ascontiguousarray(tensor.data)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """What is different now, in the order of the file as it was, then what is new."""
    keys = [key for key in {**before, **now} if not _same(before.get(key), now.get(key))]
    if len(keys) > 1 or _REST not in before or _REST not in now:
        keys = [key for key in keys if key != _REST]  # it is told by what is in it
    return [Change(*_place(key), before.get(key, ""), now.get(key, "")) for key in keys]


def _same(before: str | None, now: str | None) -> bool:
    """Whether two parts are equal; one may be cut where the other is not."""
    if before is None or now is None or before == now:
        return before == now
    (was, _, old), (became, _, new) = (each.rpartition(" #") for each in (before, now))
    return old == new and (became.startswith(was) or was.startswith(became))


def is_another_network(found: list[Change], before: Mapping[str, str]) -> bool:
    """Whether so much is different that it is another network, or another training of one."""
    layers = {key for key in before if key.endswith("|weights")}
    changed = {f"{each.where}|weights" for each in found if each.what == "weights"}
    return len(layers) > 1 and layers <= changed


def _of_layer(
    node: str,
    weights: NDArray[np.int64] | None,
    bias: NDArray[np.int64] | None,
    grid: QuantParams | None,
) -> Iterator[tuple[str, str]]:
    for name, values in (("weights", weights), ("bias", bias)):
        if values is not None:
            yield f"{node}|{name}", _integers(values)
    if grid is not None:
        yield f"{node}|weight grid", _grid(grid)


def _integers(values: NDArray[np.int64]) -> str:
    shape = "x".join(map(str, values.shape))
    little = np.ascontiguousarray(values.astype("<i8"))
    return f"{shape} integers with the sum {int(values.sum()):,} #{_digest(little.tobytes())}"


def _grid(grid: QuantParams) -> str:
    scale, zero = np.atleast_1d(grid.scale), np.atleast_1d(grid.zero_point)
    digest = _digest(scale.astype("<f8").tobytes() + zero.astype("<i8").tobytes())
    scales = f"scale {float(scale[0]):.8g}" if scale.size == 1 else f"{scale.size} scales"
    zeros = (
        f"zero point {int(zero[0])}" if len({*zero.tolist()}) == 1 else f"{zero.size} zero points"
    )
    mean = "" if scale.size == 1 else f" of mean {float(scale.mean()):.8g}"
    return f"{scales}{mean}, {zeros}, {grid.dtype} from {grid.qmin} to {grid.qmax} #{digest}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]


def _apart(before: str, now: str) -> str:
    """What is different of an operator, as ``edgeq diff`` says it."""
    (kind, was), (other, became) = _settings(before), _settings(now)
    if kind != other:
        return f"{before} became {now}"
    told = [
        f"{name}: {was.get(name, 'absent')} became {became.get(name, 'absent')}"
        for name in {**was, **became}
        if not _agree(was.get(name, ""), became.get(name, ""))
    ]
    cut = any(text.endswith("…") for of in (was, became) for text in of.values())
    if cut:  # what is behind the cut is not known to be absent
        told = [each for each in told if "absent" not in each]
    return ", ".join(told) or f"settings of {kind} that the baseline cuts off are others"


def _agree(one: str, other: str) -> bool:
    """Whether two texts are the same as far as neither is cut."""
    return one == other or any(
        cut.endswith("…") and whole.startswith(cut[:-1])
        for cut, whole in ((one, other), (other, one))
    )


def _settings(told: str) -> tuple[str, dict[str, str]]:
    """An operator's kind and settings; the last of them ends in an ellipsis where it is cut."""
    kind, _, settings = told.partition(" ")
    found = dict(_SETTING.findall(settings))
    if found and len(settings) in (_SHOWN_BEFORE, _SHOWN):
        last = [*found][-1]
        found[last] = f"{found[last]}…"
    return kind, found


def _place(key: str) -> tuple[str, str]:
    where, _, what = key.rpartition("|")
    return where, what
