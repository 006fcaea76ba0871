"""The form of a model that a runtime computes in integers.

The numbers are the same in every one.

A dialect belongs to a target, as data in its capabilities. The table here holds those of runtimes
that are fed files without being a target of this installation, so that a file for a phone can be
written on any machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ActivationDtype = Literal["uint8", "int8"]
SubRange = Literal["clip", "saturate", "real-clip"]
WeightForm = Literal["portable", "int8"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one runtime wants its files.

    Attributes:
        format: the exporter that writes them.
        activation_dtype: integer type of 8-bit activations.
        sub_range: what bounds a range narrower than its storage dtype. ``clip``: an integer Clip
            behind QuantizeLinear. ``saturate``: the zero point moves until the largest integer is
            the storage dtype's own, and a Relu or Max between two equal Q/DQ pairs is the lower
            bound. ``real-clip``: a Clip in front of QuantizeLinear.
        opset: the latest ONNX operator set that it reads.
        symmetric: whether zero points of activations have to be 0.
        float_biases: whether biases have to be float32 constants, because int32 cannot be
            dequantised there.
        kernel_shape: whether every convolution has to say its kernel's shape.
        own_grids: whether every tensor has to have scale and zero point in constants of its own.
        weights: how 8-bit weights are stored. ``portable``: int8, but uint8 with zero point 128 in
            the layers whose pairs of products could saturate on an x86 processor without VNNI; the
            numbers are the same. ``int8``: int8 everywhere.
        lacks: the operators of TFLite that the runtime has no kernel for, each with the element
            type, as the format names both; an empty type stands for all.
        ranks: the most axes that operators of TFLite which move integers take there, by name.
    """

    format: Literal["onnx", "tflite"] = "onnx"
    activation_dtype: ActivationDtype = "uint8"
    sub_range: SubRange = "clip"
    opset: int = 21
    symmetric: bool = False
    float_biases: bool = False
    kernel_shape: bool = False
    own_grids: bool = False
    weights: WeightForm = "portable"
    lacks: frozenset[tuple[str, str]] = frozenset()
    ranks: frozenset[tuple[str, int]] = frozenset({("PAD", 5), ("TRANSPOSE", 6)})

    def most_axes(self, operator: str) -> float:
        """The most axes that an operator of TFLite takes; infinite for any number."""
        return dict(self.ranks).get(operator, math.inf)


CANONICAL = Dialect()
"""uint8 activations with integer Clips: fast in ONNX Runtime, and exact on every processor."""

VNNI = Dialect(weights="int8")
"""The same with int8 weights everywhere, for x86 processors whose dot product adds in 32 bits."""

TFLITE = Dialect(format="tflite", activation_dtype="int8", sub_range="saturate")
"""int8 whose saturation is the upper bound, a fused ReLU the lower one."""

TFLM = replace(
    TFLITE,
    lacks=frozenset(
        {
            ("GELU", ""),
            ("SIGN", ""),
            ("ARG_MAX", "INT16"),
            ("ARG_MAX", "INT64"),
            ("DEPTH_TO_SPACE", "INT16"),
            ("GATHER", "INT16"),
            ("GATHER", "INT64"),
            ("LOG_SOFTMAX", "INT16"),
            ("PRELU", "INT16"),
            ("REDUCE_MAX", "INT16"),
            ("REDUCE_MIN", "INT16"),
            ("RESIZE_BILINEAR", "INT16"),
            ("SPACE_TO_DEPTH", "INT16"),
        }
    ),
    ranks=frozenset({("PAD", 5), ("SLICE", 5), ("STRIDED_SLICE", 4), ("TRANSPOSE", 5)}),
)
"""TFLite for microcontrollers, by the kernels that TensorFlow Lite Micro has.

An NPU leaves what it does not take to the same kernels.
"""

SATURATING = Dialect(sub_range="saturate", weights="int8")
"""For graph compilers that take a QDQ group whole and know no Clip on integers."""

OPENVINO = Dialect(own_grids=True)
"""OpenVINO fuses integer Clips in uint8, faster than saturation.

It moves a padded tensor's zero point in place, in a constant, so no two tensors may share one.
"""

TENSORRT = Dialect(
    activation_dtype="int8",
    sub_range="real-clip",
    opset=19,
    symmetric=True,
    float_biases=True,
    kernel_shape=True,
    weights="int8",
)
"""int8 with zero point 0, as TensorRT's parser wants it.

It dequantises int8 only, and asserts that zero points are zero.
"""

INT8_WEIGHTS: Mapping[Dialect, str] = {CANONICAL: "ort-cpu:vnni"}
"""The target that asks for the same dialect with int8 weights everywhere."""

DIALECTS: Mapping[str, Dialect] = {"tensorrt": TENSORRT}
"""Dialects of runtimes by the name that users type, where no target of that name is registered."""
