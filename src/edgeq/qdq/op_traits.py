"""What every room has to know of an operator of the integer view: one row for each.

Who asks about an operator that is not here learns that nothing is known of it, which is always
safe: it needs a quantiser of its own, and says nothing about axes or ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.numerics.pointwise import UNARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.network.placement import OperatorKind


@dataclass(frozen=True, slots=True)
class OpTraits:
    """One operator.

    Attributes:
        moves: it only chooses among the integers it reads, so that it commutes with quantisation.
        reshapes: it gives the same numbers other dimensions.
        averages: its results lie between the min and the max of what it reads.
        data: how many of its inputs hold data, the others are parameters; None for all.
        on_images: operands and result of four dimensions are images, channels at axis 1.
        keeps_axes: each axis of its result means what it means in its operands.
        kind: what the placement rules take it as where it stands alone in a float graph; None for
            unary elementwise operators, which are found together, and for what is rewritten first.
    """

    moves: bool = False
    reshapes: bool = False
    averages: bool = False
    data: int | None = None
    on_images: bool = False
    keeps_axes: bool = False
    kind: OperatorKind | None = None

    @property
    def keeps_range(self) -> bool:
        """Whether no result leaves the range of what it reads."""
        return self.moves or self.averages


_ARITHMETIC = OpTraits(keeps_axes=True)
_BOUND = OpTraits(data=1, keeps_axes=True)
_LAYER_ON_IMAGES = OpTraits(on_images=True)
_MOVE = OpTraits(moves=True, data=1)
_MOVE_ALONG_AXES = OpTraits(moves=True, data=1, keeps_axes=True)
_MOVE_ON_IMAGES = OpTraits(moves=True, data=1, on_images=True)
_AVERAGE_ON_IMAGES = OpTraits(averages=True, on_images=True)
_RESHAPE = OpTraits(moves=True, reshapes=True, data=1)

_KINDS: Mapping[OperatorKind, tuple[str, ...]] = {
    "layer": ("Conv", "ConvTranspose", "Gemm"),
    "add": ("Add",),
    "mul": ("Mul", "MatMul"),
    "function": ("Sub", "PRelu", "ReduceSum", "Softmax", "LogSoftmax", "LayerNormalization"),
    "concat": ("Concat",),
    "pool": ("MaxPool", "AveragePool", "GlobalMaxPool", "ReduceMax", "Resize"),
    "mean": ("GlobalAveragePool", "ReduceMean"),
    "data_movement": (
        *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Transpose", "Pad", "Gather"),
        *("DepthToSpace", "SpaceToDepth"),
    ),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}

_ROWS: dict[str, OpTraits] = {
    **dict.fromkeys(UNARY, _ARITHMETIC),
    "Add": _ARITHMETIC,
    "AveragePool": _AVERAGE_ON_IMAGES,
    "BatchNormalization": _LAYER_ON_IMAGES,
    "Clip": _BOUND,
    "Concat": OpTraits(moves=True, keeps_axes=True),
    "Conv": _LAYER_ON_IMAGES,
    "ConvTranspose": _LAYER_ON_IMAGES,
    "DepthToSpace": _MOVE_ON_IMAGES,
    "Div": _ARITHMETIC,
    "Embedding": OpTraits(data=1),
    "Flatten": _RESHAPE,
    "Gather": _MOVE,
    "Gemm": OpTraits(),
    "GlobalAveragePool": _AVERAGE_ON_IMAGES,
    "GlobalMaxPool": _MOVE_ON_IMAGES,
    "Identity": _BOUND,
    "LayerNormalization": OpTraits(),
    "LogSoftmax": _ARITHMETIC,
    "Lookup": _ARITHMETIC,
    "MatMul": OpTraits(),
    "MaxPool": _MOVE_ON_IMAGES,
    "Mul": _ARITHMETIC,
    "PRelu": _ARITHMETIC,
    "Pow": _ARITHMETIC,
    "Pad": _MOVE_ALONG_AXES,
    "Pick": _MOVE_ALONG_AXES,
    "ReduceMax": _MOVE,
    "ReduceMean": OpTraits(averages=True),
    "ReduceSum": OpTraits(),
    "Relu": _BOUND,
    "Requantize": _BOUND,
    "Reshape": _RESHAPE,
    "Resize": _AVERAGE_ON_IMAGES,
    "ResizeNearest": _MOVE_ON_IMAGES,
    "ScatterElements": OpTraits(),
    "Slice": _MOVE_ALONG_AXES,
    "Softmax": _ARITHMETIC,
    "SpaceToDepth": _MOVE_ON_IMAGES,
    "Squeeze": _RESHAPE,
    "Sub": _ARITHMETIC,
    "Transpose": _MOVE,
    "Unsqueeze": _RESHAPE,
}
TRAITS: dict[str, OpTraits] = {
    name: replace(row, kind=_KIND_OF.get(name)) for name, row in _ROWS.items()
}
"""Every operator of the view, in integers or in a float fallback region."""

LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
"""Operators that multiply with stored weights."""

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))
"""Operators whose steps are made of others, each with a grid of its own."""

_UNKNOWN = OpTraits()


def traits_of(op_type: str) -> OpTraits:
    """What is known of an operator."""
    return TRAITS.get(op_type, _UNKNOWN)
