"""Convolutions and pooling over one dimension: as those over images one pixel high."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.exporters.tflite.file.layouts import NHWC, stored_shape
from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.ir import Operand, QdqOp
    from edgeq.quant import QuantParams

NWC = (0, 2, 1)
SUFFIX = "~image"
_PAIRS: dict[str, tuple[int, ...]] = {
    "kernel_shape": (1,),
    "strides": (1,),
    "dilations": (1,),
    "output_padding": (0,),
}


def with_lines(
    lower: Callable[[QdqOp, LoweringContext], None],
) -> Callable[[QdqOp, LoweringContext], None]:
    """A lowering function of images that takes (batch, channels, length) too."""

    def lowered(op: QdqOp, context: LoweringContext) -> None:
        source = op.inputs[0]
        if not isinstance(source, QdqTensor) or len(source.shape) != 3:
            lower(op, context)
            return
        image = _image(source)
        context.alias(image, source)
        context.place(image, _reshaped(context, source, image), NHWC)
        result = replace(_image(op.output), is_float=op.output.is_float or context.is_float)
        context.alias(result, op.output)
        inputs = (image, *(_filters(operand) for operand in op.inputs[1:]))
        lower(replace(op, inputs=inputs, output=result, attributes=_attributes(op)), context)
        if context.is_float:
            with context.writing(op, NWC) as (target, _):
                context.reshape(
                    context.read(result, NHWC), target, stored_shape(op.output.shape, NWC)
                )
        else:  # clamped as an image already
            target = context.tensor(op.output, NWC)
            context.reshape(context.read(result, NHWC), target, stored_shape(op.output.shape, NWC))
            context.place(op.output, target, NWC)

    return lowered


def _image(tensor: QdqTensor) -> QdqTensor:
    return replace(tensor, name=f"{tensor.name}{SUFFIX}", shape=_raised(tensor.shape))


def _raised(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], 1, *shape[2:])


def _reshaped(context: LoweringContext, source: QdqTensor, image: QdqTensor) -> int:
    if (known := context.find(image)) is not None:
        return known
    target = context.tensor(image, NHWC)
    context.reshape(context.read(source, NWC), target, stored_shape(image.shape, NHWC))
    return target


def _filters(operand: Operand | None) -> Operand | None:
    if not isinstance(operand, QdqConstant) or operand.values.ndim != 3:
        return operand
    params: QuantParams | None = operand.params
    if params is not None and params.axis is not None and params.axis % 3 == 2:
        params = replace(params, axis=3)
    return QdqConstant(operand.name, operand.values[:, :, None], params)


def _attributes(op: QdqOp) -> dict[str, AttributeValue]:
    found = dict(op.attributes)
    for name, first in _PAIRS.items():
        value = found.get(name)
        if isinstance(value, tuple):
            found[name] = (*first, *(int(number) for number in value))
    pads = found.get("pads")
    if isinstance(pads, tuple) and len(pads) == 2:
        found["pads"] = (0, int(pads[0]), 0, int(pads[1]))
    return found
