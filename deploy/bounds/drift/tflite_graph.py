"""A TFLite file of any tool as errors go through it.

Tensors keep the layout of the file. What only moves numbers is moved by the kernels of the
emulator; layers, windows and functions are set up here. Kernels take a bias to have the step of
the sum it is added to, whatever the file says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.deploy.bounds.drift import moves
from edgeq.deploy.bounds.drift.arithmetic import FUNCTIONS, Product, Softmax, Sum, leaky_relu
from edgeq.deploy.bounds.drift.graph import DriftGraph, Operator, refused
from edgeq.deploy.bounds.drift.maps import Bias, Filters, Layout, bias_of, convolution, product
from edgeq.errors import TargetError, UsageError
from edgeq.formats.tflite_file import graphs_of, images_last
from edgeq.plan import called
from edgeq.qdq.ir import QdqConstant, QdqTensor, same_grid
from edgeq.target import TensorSpec
from edgeq.targets.emulator.arithmetic.dot import as_images
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.tflite.op import TfliteOp, output_range_of, params_of
from edgeq.targets.emulator.tflite.operators import KERNELS
from edgeq.targets.emulator.tflite.splitting import one_result_each
from edgeq.targets.emulator.tflite.variables import without_variables
from edgeq.targets.emulator.tflite.windows import axes_of, cut_off, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.deploy.bounds.drift.graph import Effect, Epilogue
    from edgeq.formats.tflite_file import FileGraph, FileTensor
    from edgeq.qdq.ir import Activation, Operand

_MACHINE = profile_of("tflite-reference")
_NO_LOG = cast("Any", None)  # moves count nothing
_ACTIVATIONS: Mapping[int, Activation] = {0: "", 1: "relu", 3: "relu6"}
_OWN_ACTIVATION: Mapping[str, Activation] = {"RELU": "relu", "RELU6": "relu6"}
_FUNCTIONS = {"HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid", "TANH": "Tanh"}
_REPEATING = frozenset(("GATHER", "RESIZE_NEAREST_NEIGHBOR"))
_AS_THEY_ARE = frozenset(
    (
        *("CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "PAD", "RESHAPE", "SLICE"),
        *("SPACE_TO_DEPTH", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"),
    )
)
_LOOK_AT_NO_GRID = _AS_THEY_ARE | _REPEATING | {"AVERAGE_POOL_2D", "MAX_POOL_2D", "REDUCE_MAX"}
"""Operators whose kernels copy or average integers, whatever the grids are."""
_ENDS: Mapping[str, Epilogue] = {
    "ARG_MAX": "argmax",
    "LOG_SOFTMAX": "log_softmax",
    "SOFTMAX": "softmax",
}


def of_tflite(content: bytes) -> DriftGraph:
    """The graph of a file that :func:`edgeq.formats.tflite_validation.check_model` passed.

    A state that a variable keeps is what the file sets it to, as for each sample on every target.

    Raises:
        UsageError: it has an operator of which no bound is known; names it.
    """
    return _Reader(without_variables(graphs_of(content)), images_last(content)).graph()


@dataclass(slots=True)
class _Reader:
    """What is known while operators are read.

    Attributes:
        file: the graph of the file.
        last: by name, whether an input takes images with their channels last.
        tensors: those on a grid, by their number in the file.
        specs: of each input, by its number; of inputs in float before their quantiser, too.
        real: the tensor on a grid that each tensor in float shows, by its number.
        operators: what was read.
        end: what stands before the output, and along which axis.
    """

    file: FileGraph
    last: Mapping[str, bool]
    tensors: dict[int, QdqTensor] = field(default_factory=dict)
    specs: dict[int, TensorSpec] = field(default_factory=dict)
    real: dict[int, QdqTensor] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[tuple[QdqTensor, TensorSpec]] = field(default_factory=list)
    ends: dict[int, tuple[QdqTensor, Epilogue, int]] = field(default_factory=dict)

    def graph(self) -> DriftGraph:
        for tensor in self.file.inputs:
            spec = TensorSpec(
                tensor.name,
                tensor.shape[1:],
                tensor.kind.lower(),
                channels_last=self.last.get(tensor.name, False),
            )
            if tensor.kind == "FLOAT32":
                self.specs[tensor.index] = spec
            else:
                self._enter(tensor, spec, TfliteOp(self.file.operators[0], _MACHINE))
        for whole in self.file.operators:
            for operator in one_result_each(whole):
                self._read(TfliteOp(operator, _MACHINE))
        output = self.file.outputs[0]
        shown = self.real.get(output.index) or self.tensors.get(output.index)
        end = self.ends.get(output.index) or (None if shown is None else (shown, "", -1))
        if end is None:
            raise UsageError(
                f"no bound is known for the output {called(output.name)}: it is {output.kind}",
                hint="leave --data and --drift out",
            )
        return DriftGraph(
            tuple(self.operators),
            tuple(tensor for tensor, _ in self.inputs),
            tuple(spec for _, spec in self.inputs),
            *end,
        )

    def _enter(self, tensor: FileTensor, spec: TensorSpec, op: TfliteOp) -> None:
        made = self._on_grid(tensor, op)
        self.tensors[tensor.index] = made
        self.inputs.append((made, spec))

    def _read(self, op: TfliteOp) -> None:
        """Read one operator."""
        if not op.file.outputs:
            raise _refused(op, "it has no result")
        first, output, name = op.file.inputs[0], op.file.output, op.file.name
        if first is not None and first.index in self.specs and name == "QUANTIZE":
            self._enter(output, self.specs[first.index], op)
        elif first is not None and first.index in self.tensors and name == "DEQUANTIZE":
            self.real[output.index] = self.tensors[first.index]
        elif first is not None and name in _ENDS and self._is_end(op, first):
            shown = self.real.get(first.index) or self.tensors[first.index]
            axis = axes_of(op, 1)[0] if name == "ARG_MAX" else len(output.shape) - 1
            self.ends[output.index] = (shown, _ENDS[name], axis)
        else:
            self.operators.append(self._operator(op))

    def _is_end(self, op: TfliteOp, source: FileTensor) -> bool:
        """Whether an operator stands behind the integers, and nothing behind it."""
        shown = source.index in self.real
        if op.file.name == "ARG_MAX":
            return shown or source.index in self.tensors
        return shown and float(getattr(op.file.options, "beta", 1.0)) == 1.0

    def _operator(self, op: TfliteOp) -> Operator:
        try:
            positions, effect = _effect(op)
            operands = tuple(self._operand(op.operand(i), op) for i in positions)
            if isinstance(effect, Product):
                effect = Product.of(operands)
            output = self._on_grid(op.file.output, op, operands)
            activation = _OWN_ACTIVATION.get(op.file.name) or _activation(op)
        except TargetError as error:
            raise _refused(op, error.what) from error
        grids = [each.params for each in operands if each.params is not None]
        kept = all(same_grid(grid, output.params) for grid in grids)
        if not kept and op.file.name in _LOOK_AT_NO_GRID:
            raise _refused(op, "its kernel copies integers, and its grids differ")
        self.tensors[op.file.output.index] = output
        return Operator(op.file.name, operands, output, effect, activation, kept)

    def _operand(self, tensor: FileTensor, op: TfliteOp) -> Operand:
        if tensor.index in self.tensors:
            return self.tensors[tensor.index]
        if tensor.data is None:
            raise _refused(op, f"its operand {called(tensor.name)} is in float, or no number")
        return QdqConstant(tensor.name, tensor.data, params_of(tensor))

    def _on_grid(
        self, tensor: FileTensor, op: TfliteOp, operands: tuple[Operand, ...] = ()
    ) -> QdqTensor:
        """A tensor with the integers that can occur in it."""
        params = params_of(tensor)
        if params is None or params.axis is not None:
            raise _refused(op, f"{called(tensor.name)} is {tensor.kind} without one scale")
        low, high, zero = params.qmin, params.qmax, int(params.zero_point)
        if op.file.output is tensor:
            bounds = output_range_of(op)
            low, high = bounds.low + zero, bounds.high + zero
            sources = [each for each in operands if isinstance(each, QdqTensor)]
            if op.file.name in _LOOK_AT_NO_GRID and len(sources) == len(operands):
                low = max(low, min(zero, *(each.low for each in sources)))
                high = min(high, max(zero, *(each.high for each in sources)))
        taken = {each.name for each in self.tensors.values()}
        name = f"{tensor.name}#{tensor.index}" if tensor.name in taken else tensor.name
        return QdqTensor(name, tensor.shape, params, low, high)


def _effect(op: TfliteOp) -> tuple[tuple[int, ...], Effect]:
    """Which operands an operator computes with, and how."""
    name, shape = op.file.name, op.file.output.shape
    if name in _LAYERS:
        return _LAYERS[name](op)
    if name in ("ADD", "SUB"):
        return (0, 1), Sum(-1.0 if name == "SUB" else 1.0)
    if name == "MUL":
        return (0, 1), Product((0.0, 0.0))
    if name in _FUNCTIONS:
        return (0,), FUNCTIONS[_FUNCTIONS[name]]
    if name == "LEAKY_RELU":
        return (0,), leaky_relu(float(op.file.options.alpha))
    if name == "SOFTMAX":
        return (0,), Softmax(len(shape) - 1, float(op.file.options.beta))
    if name in ("QUANTIZE", "RELU", "RELU6"):
        return (0,), moves.unmoved()
    return _move(op)


def _move(op: TfliteOp) -> tuple[tuple[int, ...], Effect]:
    name, before, after = op.file.name, op.operand(0).shape, op.file.output.shape
    if name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return (0,), _pool(op)
    if name == "MEAN":
        return (0,), moves.mean_along(axes_of(op, 1), (before, after))
    if name == "REDUCE_MAX":
        return (0,), moves.greatest_along(axes_of(op, 1), after)
    if name in _AS_THEY_ARE or name in _REPEATING:
        set_up = KERNELS[name](op)
        if name == "GATHER" and set_up.data != (0,):
            raise _refused(op, "it picks rows by computed numbers")
        kernel = set_up.kernel
        move = moves.moved(
            lambda operands: kernel(operands, _NO_LOG), before, repeating=name in _REPEATING
        )
        return set_up.data, move
    raise _refused(op, "its derivative is not known")


def _pool(op: TfliteOp) -> Effect:
    options, (_, height, width, _) = op.file.options, op.operand(0).shape
    kernel = (int(options.filterHeight), int(options.filterWidth))
    window, after = window_of(op, (height, width), kernel, (1, 1)), op.file.output.shape
    if op.file.name == "MAX_POOL_2D":
        return moves.greatest_in_windows(kernel, window, after, channels_last=True)
    return moves.mean_in_windows(kernel, window, (op.operand(0).shape, after), channels_last=True)


def _activation(op: TfliteOp) -> Activation:
    """The activation that is fused with an operator.

    Raises:
        UsageError: nothing is known of it.
    """
    number = int(getattr(op.file.options, "fusedActivationFunction", 0) or 0)
    if number not in _ACTIVATIONS:
        raise _refused(op, f"its fused activation is number {number}")
    return _ACTIVATIONS[number]


# ---- layers --------------------------------------------------------------------------------------


def _weights(op: TfliteOp) -> NDArray[np.float64]:
    """The real weights, in the layout of the file."""
    params = params_of(op.operand(1))
    if params is None:
        raise _refused(op, "its weights are not stored integers")
    levels = op.centered(1)
    scale, _ = params.broadcast(levels.ndim)
    return np.asarray(levels.astype(np.float64) * scale.astype(np.float64))


def _bias(op: TfliteOp, source: int, position: int) -> Bias:
    given = op.file.inputs[position] if len(op.file.inputs) > position else None
    if given is None:
        return Bias()
    steps = op.grid(source).scale.astype(np.float64) * op.operand(1).scale.astype(np.float64)
    return bias_of(op.numbers(position), steps, len(op.file.output.shape), -1)


def _images(x: Tensor) -> Tensor:
    return as_images(x, channels_last=True)


def _convolution(op: TfliteOp) -> tuple[tuple[int, ...], Effect]:
    depthwise = op.file.name == "DEPTHWISE_CONV_2D"
    weight = _weights(op).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    options, (_, height, width, channels) = op.file.options, op.operand(0).shape
    dilation = (int(options.dilationHFactor), int(options.dilationWFactor))
    kernel = (weight.shape[2], weight.shape[3])
    window = window_of(op, (height, width), kernel, dilation, channels // weight.shape[1])
    layout = Layout(op.file.output.shape, _images, channels_last=True)
    made = convolution(Filters(weight, window), layout, (height, width), _bias(op, 0, 2))
    return (0,), made


def _transposed(op: TfliteOp) -> tuple[tuple[int, ...], Effect]:
    weight = _weights(op).transpose(3, 0, 1, 2)  # (in, out, height, width)
    layout = Layout(op.file.output.shape, _images, channels_last=True)
    filters = Filters(weight, cut_off(op, (weight.shape[2], weight.shape[3])), transposed=True)
    size = (op.file.output.shape[1], op.file.output.shape[2])
    return (2,), convolution(filters, layout, size, _bias(op, 2, 3))


def _dense(op: TfliteOp) -> tuple[tuple[int, ...], Effect]:
    return (0,), product(_weights(op), op.file.output.shape, _bias(op, 0, 2))


_LAYERS: Mapping[str, Callable[[TfliteOp], tuple[tuple[int, ...], Effect]]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transposed,
}


def _refused(op: TfliteOp, why: str) -> UsageError:
    return refused(op.file.name, op.name, why)
