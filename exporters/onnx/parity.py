"""The scale-parity report of an ONNX file.

Two spellings of one model, compared where both must mean the same.

Each dequantised tensor keeps its name in every dialect. It is compared by its scale, bit for bit,
and by the steps from zero that its integers can take, which are the same in every storage dtype and
however a sub-range is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.exporter import ParityReport
from edgeq.exporters.onnx.ranges import maker_of, span
from edgeq.qdq.nodes import constant_of, grid_of, title
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


def compare_models(model: ir.Model, written: ir.Model) -> ParityReport:
    """Compare every number of a model with those of the file that was written from it.

    Zero points of the model have to be explicit.
    """
    found = _Found.of(written)
    comparison = _Comparison()
    seen: set[ir.Node] = set()
    for node in model.graph:
        if node.op_type != "DequantizeLinear":
            continue
        if (stored := node.inputs[0]) is not None and constant_of(stored) is not None:
            comparison.constant(node, found)
        else:
            comparison.activation(node, found, seen)
    return comparison.report()


@dataclass(frozen=True, slots=True)
class _Found:
    """What a written file holds, by the names of dequantised tensors.

    Attributes:
        dequantizers: those made by a DequantizeLinear.
        constants: those stored in float.
    """

    dequantizers: dict[str, ir.Node]
    constants: dict[str, NDArray[np.generic]]

    @classmethod
    def of(cls, model: ir.Model) -> _Found:
        nodes = {
            node.outputs[0].name or "": node
            for node in model.graph
            if node.op_type == "DequantizeLinear"
        }
        constants = {
            name: value.const_value.numpy()
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        return cls(nodes, constants)


@dataclass(slots=True)
class _Comparison:
    weights: int = 0
    biases: int = 0
    scales: int = 0
    zero_points: int = 0
    different: list[str] = field(default_factory=list)

    def report(self) -> ParityReport:
        return ParityReport(
            self.weights, self.biases, self.scales, self.zero_points, tuple(self.different)
        )

    def constant(self, node: ir.Node, found: _Found) -> None:
        """Stored integers, or the float32 numbers that stand for them bit for bit."""
        name, integers = _name(node), _array(node, 0)
        if integers.dtype == np.int32 and grid_of(node).dtype == "int32":
            self.biases += integers.size
        else:
            self.weights += integers.size
        other = found.dequantizers.get(name)
        if other is None:
            self.scales, self.zero_points = (
                self.scales + _array(node, 1).size,
                self.zero_points + _array(node, 2).size,
            )
            self._equal(
                f"{name}: numbers",
                _bits(grid_of(node).dequantize(integers)),
                _bits(found.constants.get(name)),
            )
            return
        shift = (
            STORAGE_RANGE[grid_of(other).dtype][0] - STORAGE_RANGE[grid_of(node).dtype][0]
            if _in_bytes(node, other)
            else 0
        )
        self._equal(f"{_stored(node)}: integers", integers + shift, _array(other, 0))
        self._grid(node, other)
        self._equal(f"{title(node)} zero point", _array(node, 2) + shift, _array(other, 2))

    def activation(self, node: ir.Node, found: _Found, seen: set[ir.Node]) -> None:
        """A dequantiser, and with the first of several the quantiser that made its integers."""
        other = found.dequantizers.get(_name(node))
        if other is None:
            self.different.append(f"{_name(node)}: is not in the file")
            return
        self._grid(node, other)
        maker, other_maker = maker_of(node), maker_of(other)
        if maker is None or other_maker is None or _array(node, 2).size > 1:
            self._equal(f"{title(node)} zero point", _array(node, 2), _array(other, 2))
            return
        offsets = [
            _array(reader, 2) - _array(writer, 2)
            for reader, writer in ((node, maker), (other, other_maker))
        ]
        self._equal(f"{title(node)} zero point, from its quantiser's", *offsets)
        if maker not in seen:
            seen.add(maker)
            self._grid(maker, other_maker)
            steps = [np.array(span(quantizer), np.int64) for quantizer in (maker, other_maker)]
            self._equal(f"{title(maker)} zero point: steps from it", *steps)

    def _grid(self, node: ir.Node, other: ir.Node) -> None:
        self.scales, self.zero_points = (
            self.scales + _array(node, 1).size,
            self.zero_points + _array(node, 2).size,
        )
        self._equal(f"{title(node)} scale", _array(node, 1), _array(other, 1), bits=True)

    def _equal(
        self, what: str, expected: NDArray[Any], found: NDArray[Any] | None, *, bits: bool = False
    ) -> None:
        if found is None or expected.shape != found.shape:
            shape = "none" if found is None else str(found.shape)
            self.different.append(f"{what}: expected the shape {expected.shape}, found {shape}")
            return
        wrong = np.atleast_1d(_bits(expected) != _bits(found) if bits else expected != found)
        if wrong.any():
            first = (
                f"expected {np.atleast_1d(expected)[wrong][0]}, found "
                f"{np.atleast_1d(found)[wrong][0]}"
            )
            self.different.append(f"{what}: {int(wrong.sum())} of {expected.size} differ; {first}")


def _in_bytes(node: ir.Node, other: ir.Node) -> bool:
    """Whether two spellings of stored weights hold 8 bits each, int8 or uint8."""
    return {grid_of(node).dtype, grid_of(other).dtype} <= {"int8", "uint8"}


def _bits(numbers: NDArray[Any] | None) -> Any:
    return None if numbers is None else np.asarray(numbers, np.float32).view(np.uint32)


def _name(node: ir.Node) -> str:
    return node.outputs[0].name or ""


def _stored(node: ir.Node) -> str:
    return (node.inputs[0].name if node.inputs[0] is not None else None) or title(node)


def _array(node: ir.Node, index: int) -> NDArray[Any]:
    """A constant input of a node: scales as they are, integers as int32."""
    value = node.inputs[index] if len(node.inputs) > index else None
    array = constant_of(value) if value is not None else None
    if array is None:
        what = ("input", "scale", "zero point")[index]
        raise ArtefactError(
            f"{title(node)} has no constant {what}", hint=f"write the {what} as an initialiser"
        )
    return array if array.dtype == np.float32 else array.astype(np.int32)
