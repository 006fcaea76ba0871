"""Lowers a torch network, float or quantised, to ONNX: a quantised one to canonical QDQ.

The network is followed by ``torch.fx`` rather than ``torch.onnx.export``: thirty times faster on a
ResNet-56, names come from module paths, and no step of the way can drop a range or requantise a
weight (``docs/decisions/0003``).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_arg
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.exporters.torch.functions import write_function
from edgeq.exporters.torch.graph_writer import GraphWriter
from edgeq.exporters.torch.traced import (
    options_of,
    propagate,
    shape_of,
    shapes_of,
    traced,
    unsupported,
)
from edgeq.network.calls import argument
from edgeq.network.layer_protocols import ActivationQuantizer, Inactive, IntegerLayer
from edgeq.network.pooling import POOL_OPTIONS, pool_operators, read_pooling
from edgeq.network.rows import number_nodes, pick_rows
from edgeq.numerics.functions import function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quant import QuantParams

_ARITHMETIC: dict[Any, str] = {
    operator.add: "Add",
    torch.add: "Add",
    "add": "Add",
    operator.sub: "Sub",
    torch.sub: "Sub",
    operator.mul: "Mul",
    torch.mul: "Mul",
    operator.truediv: "Div",
    torch.matmul: "MatMul",
}
_ALONG_AXIS: dict[Any, str] = {torch.softmax: "Softmax", torch.log_softmax: "LogSoftmax"}
_REDUCTIONS: dict[Any, str] = {
    torch.mean: "ReduceMean",
    torch.sum: "ReduceSum",
    torch.amax: "ReduceMax",
}
_PADDING = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_SAMPLING = {
    ("nearest", False): {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
    ("bilinear", False): {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    ("bilinear", True): {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
}
"""How ONNX says what torch's mode, and whether it aligns the corners, say."""

_DROPOUT = nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.AlphaDropout


def lower(
    module: nn.Module,
    input_shape: Sequence[int] | Sequence[Sequence[int]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> ir.Model:
    """The ONNX model of a network in evaluation mode.

    Args:
        module: a network that ``torch.fx`` can trace; quantised layers answer the protocols of
            :mod:`edgeq.network.layer_protocols`.
        input_shape: of one sample, (channels, height, width), or one such for each input.
        metadata: written to the model's ``metadata_props``.

    Returns:
        A model with float32 input ``input``, (N, channels, height, width), and float32 output
        ``output``. Further inputs have the names of the network's parameters, further outputs are
        ``output_2`` and so on.

    Raises:
        UsageError: an operation has no ONNX form here, and is named; or the network cannot read
            such samples.
    """
    module.eval()
    graph_module = traced(module)
    shapes = shapes_of(input_shape)
    propagate(graph_module, shapes)
    return _Lowering(graph_module).run(shapes, metadata or {})


class _Lowering:
    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module
        self.modules = dict(graph_module.named_modules())
        self.nodes = list(graph_module.graph.nodes)
        self.writer = GraphWriter()
        self.values: dict[fx.Node, ir.Value] = {}
        self.grids: dict[fx.Node, tuple[str, QuantParams]] = {}  # nodes whose values lie on a grid
        self.constants: dict[fx.Node, Any] = {}  # what is computed of parameters alone
        self.numbers = number_nodes(graph_module.graph)

    def run(self, shapes: Sequence[Sequence[int]], metadata: Mapping[str, str]) -> ir.Model:
        inputs: list[ir.Value] = []
        for node in self.nodes:
            if node.op == "placeholder":
                self.values[node] = self.writer.input(
                    node.name if inputs else "input", shapes[len(inputs)]
                )
                inputs.append(self.values[node])
            elif self._is_constant(node):
                self.constants[node] = self._evaluated(node)
            elif node.op != "output":
                self.values[node] = self._node(node)
            if node in self.numbers and node in self.values:
                self.writer.hold_numbers(self.values[node])
        return self.writer.model(inputs, self._outputs(), metadata)

    def _outputs(self) -> list[ir.Value]:
        """In the order in which the network returns them; what it returns twice is there twice."""
        returned: list[fx.Node] = []

        def keep(node: fx.Node) -> fx.Node:
            returned.append(node)
            return node

        map_arg(self.nodes[-1].args, keep)
        found: list[ir.Value] = []
        for number, node in enumerate(returned, 1):
            value = self.values[node]
            if node in returned[: number - 1]:
                value = self.writer.op(
                    "Identity", [value], f"{node.name}_again", shape=shape_of(node)
                )
            found.append(self.writer.as_output(value, number))
        return found

    def _node(self, node: fx.Node) -> ir.Value:
        module = self.modules[str(node.target)] if node.op == "call_module" else None
        if isinstance(module, ActivationQuantizer):
            return self._quantizer(node, module)
        if isinstance(module, IntegerLayer):
            return self._layer(node, module)
        if module is not None:
            return self._module(node, module)
        return self._function(node)

    def _is_constant(self, node: fx.Node) -> bool:
        return node.op == "get_attr" or (
            node.op == "call_function" and all(s in self.constants for s in node.all_input_nodes)
        )

    def _evaluated(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.graph_module)
        args, kwargs = map_arg((node.args, node.kwargs), self.constants.__getitem__)
        with torch.no_grad():
            return cast("Callable[..., Any]", node.target)(*args, **kwargs)

    # -- quantised parts ---------------------------------------------------------------------------

    def _quantizer(self, node: fx.Node, module: ActivationQuantizer) -> ir.Value:
        grid, params = str(node.target).replace("quantizers.", ""), module.quant_params()
        self.grids[node] = grid, params
        source = node.all_input_nodes[0]
        if source in self.constants:
            integers = params.quantize(self.constants[source].detach().numpy())
            return self.writer.dequantized_constant(source.name, integers, params)
        return self.writer.quantize(
            self._source(node), node.name.removesuffix("_quantized"), grid, params, shape_of(node)
        )

    def _layer(self, node: fx.Node, module: IntegerLayer) -> ir.Value:
        integers = module.integer_weights()
        path = str(node.target)
        inputs = [
            self._source(node),
            self.writer.dequantized_constant(
                f"{path}.weight", integers.weight, integers.weight_params
            ),
        ]
        if integers.bias is not None and integers.bias_params is not None:
            inputs.append(
                self.writer.dequantized_constant(
                    f"{path}.bias", integers.bias, integers.bias_params
                )
            )
        if integers.op == "Gemm":
            return self._gemm(inputs, node)
        attributes = _conv(
            integers.weight.shape[2:],
            integers.stride,
            integers.padding,
            integers.dilation,
            integers.groups,
        )
        if integers.op == "ConvTranspose":
            attributes["output_padding"] = list(integers.output_padding)
        return self._op(integers.op, inputs, node, **attributes)

    def _view(
        self, op_type: str, inputs: Sequence[ir.Value | None], node: fx.Node, **attributes: Any
    ) -> ir.Value:
        """Moves values only.

        What it makes lies on the grid of what it reads, and says so with a Q/DQ pair of its own.
        """
        source = node.all_input_nodes[0]
        value = self._op(op_type, inputs, node, **attributes)
        if source not in self.grids:
            return value
        self.grids[node] = grid, params = self.grids[source]
        return self.writer.quantize(value, node.name, grid, params, shape_of(node), in_range=True)

    def _unchanged(self, node: fx.Node) -> ir.Value:
        """Computes nothing in evaluation."""
        source = node.all_input_nodes[0]
        if source in self.grids:
            self.grids[node] = self.grids[source]
        return self.values[source]

    # -- float parts -------------------------------------------------------------------------------

    def _module(self, node: fx.Node, module: Any) -> ir.Value:
        source = self._source(node)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            inputs = [source, *self._parameters(node, module, "weight", "bias")]
            attributes = _conv(
                module.kernel_size, module.stride, module.padding, module.dilation, module.groups
            )
            if isinstance(module, nn.Conv2d):
                return self._op("Conv", inputs, node, **attributes)
            attributes["output_padding"] = list(module.output_padding)
            return self._op("ConvTranspose", inputs, node, **attributes)
        if isinstance(module, nn.Linear):
            return self._gemm([source, *self._parameters(node, module, "weight", "bias")], node)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            return self._op(
                "BatchNormalization", [source, *self._norm(node, module)], node, epsilon=module.eps
            )
        if isinstance(module, nn.LayerNorm):
            weight = torch.ones(module.normalized_shape) if module.weight is None else module.weight
            scale = self.writer.constant(f"{node.target}.weight", weight.detach().numpy())
            inputs = [source, scale, *self._parameters(node, module, "bias")]
            return self._op(
                "LayerNormalization",
                inputs,
                node,
                axis=-len(module.normalized_shape),
                epsilon=module.eps,
            )
        if (name := function_name(module)) is not None:
            return write_function(
                self.writer, name, source, node.name, shape_of(node), options_of(name, node, module)
            )
        if type(module) in pool_operators():
            return self._pool(node, pool_operators()[type(module)], vars(module))
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            return self._view("Flatten", [source], node, axis=1)
        if isinstance(module, _DROPOUT | Inactive):
            return self._unchanged(node)
        raise unsupported(f"{node.target} ({type(module).__name__})")

    def _function(self, node: fx.Node) -> ir.Value:
        target: Any = node.target
        if target is pick_rows:
            return self._rows(node)
        if target in _ARITHMETIC:
            if len(node.args) != 2 or node.kwargs:
                raise unsupported(f"{node.name}: arithmetic with more than two operands")
            return self._op(
                _ARITHMETIC[target],
                [self._operand(node, argument, index) for index, argument in enumerate(node.args)],
                node,
            )
        if (name := function_name(target)) is not None:
            return write_function(
                self.writer,
                name,
                self._source(node),
                node.name,
                shape_of(node),
                options_of(name, node, target),
            )
        if target in _ALONG_AXIS:
            return self._op(
                _ALONG_AXIS[target], [self._source(node)], node, axis=argument(node, 1, "dim")
            )
        if target in _REDUCTIONS:
            return self._reduce(node, _REDUCTIONS[target])
        if target is torch.cat:
            tensors: Any = argument(node, 0, "tensors")
            return self._op(
                "Concat",
                [self.values[tensor] for tensor in tensors],
                node,
                axis=argument(node, 1, "dim", 0),
            )
        if target in (torch.flatten, "flatten") and (
            argument(node, 1, "start_dim", 0),
            argument(node, 2, "end_dim", -1),
        ) == (1, -1):
            return self._view("Flatten", [self._source(node)], node, axis=1)
        if target is torch.unflatten and argument(node, 1, "dim") == 1:
            sizes = self.writer.constant(
                f"{node.name}_sizes", np.array([0, *shape_of(node)], np.int64)
            )
            return self._view("Reshape", [self._source(node), sizes], node)
        if target in (torch.transpose, torch.permute):
            return self._transpose(node)
        if target is operator.getitem:
            return self._slice(node)
        if target is F.pad:
            return self._pad(node)
        if target is F.interpolate:
            return self._resize(node)
        if target is F.pixel_shuffle:
            block = argument(node, 1, "upscale_factor")
            return self._view(
                "DepthToSpace", [self._source(node)], node, blocksize=block, mode="CRD"
            )
        if target in pool_operators():
            op_type = pool_operators()[target]
            return self._pool(
                node,
                op_type,
                {**dict(zip(POOL_OPTIONS[op_type], node.args[1:], strict=False)), **node.kwargs},
            )
        raise unsupported(str(getattr(target, "__name__", target)))

    def _rows(self, node: fx.Node) -> ir.Value:
        table: Any = node.all_input_nodes[0]
        held = (
            self.writer.constant(table.name, self.constants[table].detach().numpy())
            if table in self.constants
            else self.values[table]
        )
        return self._view("Gather", [held, self.values[node.all_input_nodes[1]]], node)

    def _pool(self, node: fx.Node, op_type: str, options: Mapping[str, Any]) -> ir.Value:
        pooling = read_pooling(op_type, node.name, options)
        if op_type.startswith("Global"):
            return self._op(op_type, [self._source(node)], node)
        attributes = {
            "kernel_shape": pooling.kernel,
            "strides": pooling.stride,
            "pads": pooling.padding * 2,
        }
        return self._op(op_type, [self._source(node)], node, **attributes)

    def _reduce(self, node: fx.Node, op_type: str) -> ir.Value:
        axes, keep = argument(node, 1, "dim"), bool(argument(node, 2, "keepdim", False))
        if not isinstance(axes, tuple):
            raise unsupported(f"{node.name}: a reduction without a tuple of axes")
        held = self.writer.constant(f"{node.name}_axes", np.array(axes, np.int64))
        return self._op(op_type, [self._source(node), held], node, keepdims=int(keep))

    def _transpose(self, node: fx.Node) -> ir.Value:
        rank = len(shape_of(node)) + 1
        order = list(range(rank))
        if node.target is torch.transpose:
            one, other = (argument(node, index, f"dim{index - 1}") % rank for index in (1, 2))
            order[one], order[other] = other, one
        else:
            order = [axis % rank for axis in argument(node, 1, "dims")]
        if order[0]:
            raise unsupported(f"{node.name}: moving the batch's axis")
        return self._view("Transpose", [self._source(node)], node, perm=order)

    def _slice(self, node: fx.Node) -> ir.Value:
        index: Any = node.args[1]
        items = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(item, slice) for item in items):
            raise unsupported(f"{node.name}: an index that is not a slice")
        cuts = [(axis, item) for axis, item in enumerate(items) if item != slice(None)]
        columns = {
            "starts": [item.start or 0 for _, item in cuts],
            "ends": [
                np.iinfo(np.int64).max if item.stop is None else item.stop for _, item in cuts
            ],
            "axes": [axis for axis, _ in cuts],
            "steps": [item.step or 1 for _, item in cuts],
        }
        constants = [
            self.writer.constant(f"{node.name}_{name}", np.array(column, np.int64))
            for name, column in columns.items()
        ]
        return self._view("Slice", [self._source(node), *constants], node)

    def _pad(self, node: fx.Node) -> ir.Value:
        pads: Any = argument(node, 1, "pad")
        mode, fill = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
        if fill not in (None, 0, 0.0) or mode not in _PADDING:
            raise unsupported(f"{node.name}: padding with something other than zeros")
        rank = len(shape_of(node)) + 1
        ends = np.zeros((2, rank), np.int64)
        for axis, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
            ends[:, rank - 1 - axis] = before, after
        return self._view(
            "Pad",
            [self._source(node), self.writer.constant(f"{node.name}_pads", ends.ravel())],
            node,
            mode=_PADDING[mode],
        )

    def _resize(self, node: fx.Node) -> ir.Value:
        factors, mode = argument(node, 2, "scale_factor"), argument(node, 3, "mode", "nearest")
        sampling = _SAMPLING.get((mode, bool(argument(node, 4, "align_corners"))))
        if (
            sampling is None
            or not isinstance(factors, tuple)
            or not all(float(factor).is_integer() for factor in factors)
        ):
            raise unsupported(
                f"{node.name}: resizing by anything else than the nearest pixels or "
                "bilinear, and two whole factors"
            )
        scales = self.writer.constant(f"{node.name}_scales", np.array([1, 1, *factors], np.float32))
        write = self._view if mode == "nearest" else self._op
        return write("Resize", [self._source(node), None, scales], node, **sampling)

    # -- help --------------------------------------------------------------------------------------

    def _op(
        self, op_type: str, inputs: Sequence[ir.Value | None], node: fx.Node, **attributes: Any
    ) -> ir.Value:
        return self.writer.op(
            op_type, inputs, node.name, shape=shape_of(node), attributes=attributes
        )

    def _source(self, node: fx.Node) -> ir.Value:
        return self.values[node.all_input_nodes[0]]

    def _gemm(self, inputs: Sequence[ir.Value], node: fx.Node) -> ir.Value:
        if len(shape_of(node)) != 1:
            what = f"{node.target} (Linear) reads a tensor of more axes than batch and features"
            raise UsageError(
                what,
                hint="give an example of the input to edgeq.quantize, which makes a "
                "convolution of it",
            )
        return self._op("Gemm", inputs, node, transB=1)

    def _operand(self, node: fx.Node, argument: Any, index: int) -> ir.Value:
        if argument in self.constants:
            return self.writer.constant(argument.name, self.constants[argument].detach().numpy())
        if isinstance(argument, fx.Node):
            return self.values[argument]
        return self.writer.constant(f"{node.name}_operand{index}", np.array(argument, np.float32))

    def _norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> list[ir.Value]:
        if module.running_mean is None or module.running_var is None:
            raise unsupported(f"{node.target}: BatchNorm without running statistics")
        ones = torch.ones(module.num_features)
        weight, bias = (ones, ones * 0) if module.weight is None else (module.weight, module.bias)
        tensors = {
            "weight": weight,
            "bias": bias,
            "running_mean": module.running_mean,
            "running_var": module.running_var,
        }
        return [
            self.writer.constant(f"{node.target}.{name}", tensor.detach().numpy())
            for name, tensor in tensors.items()
        ]

    def _parameters(self, node: fx.Node, module: nn.Module, *names: str) -> list[ir.Value]:
        tensors = [(name, getattr(module, name)) for name in names]
        return [
            self.writer.constant(f"{node.target}.{name}", t.detach().numpy())
            for name, t in tensors
            if t is not None
        ]


def _conv(kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    return {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": list(padding) * 2,
        "dilations": list(dilation),
        "group": groups,
    }
