"""Which operators ONNX Runtime computes in integers, read from the graph that it really runs.

Every node is given a name of ours before the runtime sees the model. Optimisation fuses, moves and
renames values, but builds the name of what it makes on the name of what it made it from, so each
kernel is traced back to its node.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_validation import error_context
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.plan import HYBRID_WHY, Plan, PlannedOp
from edgeq.qdq.nodes import constant_of, title
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.qdq.shapes import Shapes
from edgeq.targets.plans.onnx_blocks import why_float
from edgeq.targets.plans.onnx_macs import macs_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from edgeq.plan import Arithmetic

_QUIET = frozenset((*QUANTIZERS, "Constant", "Identity"))
_INTEGER_KERNEL = re.compile(
    r"(QLinear|QGemm$|QAttention$|MatMulInteger|ConvInteger|DynamicQuantize)"
)
_GIVES_FLOAT = (
    "DequantizeLinear",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "QAttention",
)
_QGEMM_SCALE = 7  # the position of its result's scale, without which it gives real numbers
# kernels that quantise their activations as they run
_HYBRID = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_LAYOUTS = ("Transpose", "ReorderInput", "ReorderOutput")
_BLOCKED = "_nchwc"  # what kernels in a blocked layout are called after their output
_COMPUTED = ("int8", "uint8", "float16", "float", "double")
MARK = re.compile(r"edgeq(\d+)~")
"""What :func:`marked` calls a node, and what runtimes call what they make of it."""

_BYTES = {
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "float": 4,
    "int32": 4,
    "int64": 8,
    "double": 8,
}


def marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes are named by position, to find them in the optimised graph."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for position, node in enumerate(copy.graph.node):
        node.name = f"edgeq{position}~"
    return copy


def plan_of(model: onnx.ModelProto, running: onnx.ModelProto, *, optimize: bool) -> Plan:
    """What a runtime made of a model.

    Args:
        model: the model.
        running: the graph that runs, made of :func:`marked`'s copy.
        optimize: whether it was optimised at all.
    """
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    shapes = Shapes(as_qdq(graph))
    kernels = _Kernels(graph.graph, running, shapes)

    def planned(node: ir.Node) -> PlannedOp:
        kernel, arithmetic = kernels.of(node)
        why = (
            why_float(node, optimize=optimize)
            if arithmetic == "float"
            else HYBRID_WHY
            if arithmetic == "hybrid"
            else ""
        )
        return PlannedOp(
            title(node), node.op_type, kernel, arithmetic, "target", macs_of(node, shapes), why
        )

    with error_context(graph):
        ops = tuple(planned(node) for node in graph.graph if is_computed(node))
        return Plan(ops, *kernels.transposes())


def is_computed(node: ir.Node) -> bool:
    """Whether a node is an operator to account for.

    No quantiser, and none that works on constants or shapes alone.
    """
    if node.op_type in _QUIET or node.op_type in ("Shape", "Size"):
        return False
    return any(value is not None and constant_of(value) is None for value in node.inputs)


class _Kernels:
    """The kernels of the running graph, found by what they were made from."""

    def __init__(self, graph: ir.Graph, running: onnx.ModelProto, shapes: Shapes) -> None:
        self.originals, self.shapes = list(graph), shapes
        self.positions = {node: position for position, node in enumerate(self.originals)}
        self.nodes = list(running.graph.node)
        self.types, self.sizes = _described(running)
        self.kinds: dict[str, str] = {}
        self.by_position: dict[int, onnx.NodeProto] = {}
        for node in self.nodes:
            mark = MARK.match(node.name)
            if mark is not None and node.op_type not in _QUIET:
                self.by_position.setdefault(int(mark.group(1)), node)
        self.by_value = {name: node for node in self.nodes for name in node.output}
        self.by_value |= {
            node.name.removesuffix(_BLOCKED): node
            for node in self.nodes
            if node.name.endswith(_BLOCKED)
        }

    def of(self, node: ir.Node) -> tuple[str, Arithmetic]:
        """The kernel that computes a node, and its arithmetic.

        That of its neighbour, where it was fused into one.
        """
        kernel = self._own(node)
        if kernel is not None:
            return kernel.op_type, self.arithmetic(kernel)
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        for neighbour in (before, *node.outputs[0].consumers()):
            kernel = None if neighbour is None else self._own(neighbour)
            if kernel is not None:
                return kernel.op_type, self.arithmetic(kernel)
        return "removed", "none"

    def _own(self, node: ir.Node) -> onnx.NodeProto | None:
        kernel = self.by_position.get(self.positions[node]) or self.by_value.get(
            node.outputs[0].name or ""
        )
        own = (
            kernel is not None
            and kernel.op_type not in _QUIET
            and (kernel.op_type not in _LAYOUTS or kernel.op_type == node.op_type)
        )
        return kernel if own else None

    def arithmetic(self, kernel: onnx.NodeProto) -> Arithmetic:
        """By what the kernel is called, or else by the type of what it moves."""
        if kernel.op_type in _HYBRID:
            return "hybrid"
        if _INTEGER_KERNEL.match(kernel.op_type):
            return "integer"
        kinds = (self._kind(name) for name in (*kernel.input, *kernel.output))
        return (
            "integer"
            if next((kind for kind in kinds if kind in _COMPUTED), "") in ("int8", "uint8")
            else "float"
        )

    def _kind(self, name: str) -> str:
        """The element type of a value.

        As the graph says, or, of what an optimiser made or a foreign operator gives, as it was
        made.
        """
        behind = []  # values that have the kind of the next one; a loop, since graphs are deep
        while name not in self.kinds:
            known = self.types.get(name, "")
            maker = self.by_value.get(name)
            if known in _COMPUTED or maker is None:
                self.kinds[name] = known
            elif maker.op_type in _GIVES_FLOAT or (
                maker.op_type == "QGemm" and len(maker.input) <= _QGEMM_SCALE
            ):
                self.kinds[name] = "float"
            elif maker.op_type == "QuantizeLinear" or _INTEGER_KERNEL.match(maker.op_type):
                self.kinds[name] = "uint8"
            elif not maker.input:
                self.kinds[name] = ""
            else:
                behind.append(name)
                name = maker.input[0]
        self.kinds |= dict.fromkeys(behind, self.kinds[name])
        return self.kinds[name]

    def transposes(self) -> tuple[int, int]:
        """How many there are, and the bytes that those of known shape write for one sample."""
        found = [node for node in self.nodes if node.op_type in _LAYOUTS]
        return len(found), sum(
            self.sizes.get(node.output[0]) or self._moved(node) for node in found
        )

    def _moved(self, transpose: onnx.NodeProto) -> int:
        """The bytes that an inserted operator moves.

        The kernel that reads it tells, else the one before it; 0 for neither.
        """
        for kernel in self.nodes:
            mark = MARK.match(kernel.name)
            if mark is not None and transpose.output[0] in kernel.input[:1]:
                return self._bytes(self.originals[int(mark.group(1))].inputs[0], kernel)
            if mark is not None and transpose.input[0] in kernel.output:
                return self._bytes(self.originals[int(mark.group(1))].outputs[0], kernel)
        return 0

    def _bytes(self, value: ir.Value | None, kernel: onnx.NodeProto) -> int:
        try:
            return math.prod(self.shapes.of(value)) * (
                1 if self.arithmetic(kernel) == "integer" else 4
            )
        except ArtefactError:
            return 0


def _described(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, int]]:
    """Element type, and bytes for one sample, of each value that the graph describes."""
    import onnx

    types = {
        tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        for tensor in model.graph.initializer
    }
    sizes: dict[str, int] = {}
    for info in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = info.type.tensor_type
        types[info.name] = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        dims = [dim.dim_value or (1 if i == 0 else 0) for i, dim in enumerate(tensor.shape.dim)]
        sizes[info.name] = math.prod(dims) * _BYTES.get(types[info.name], 0)
    return types, sizes
