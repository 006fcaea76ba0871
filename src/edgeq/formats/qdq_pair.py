"""The normal form of a quantised tensor: QuantizeLinear, perhaps a Clip, DequantizeLinear.

Every reader of canonical models may rely on its names. A float tensor ``t`` is ``t_quantized`` as
integers and ``t_dequantized`` after. Where the range is smaller than its storage dtype, an integer
Clip stands between them, and reads ``t_unclipped``. The tensors of one grid share its constants:
``<grid>_scale``, ``<grid>_zero_point``, ``<grid>_qmin`` and ``<grid>_qmax``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

NodeMaker: TypeAlias = "Callable[[str, Sequence[ir.Value], str, ir.DataType], ir.Value]"
"""Adds a node: from operator, inputs, wanted name and type of the output to the output."""


def quantize(
    value: ir.Value,
    name: str,
    grid: str,
    params: QuantParams,
    *,
    node: NodeMaker,
    constant: Callable[[str, NDArray[Any]], ir.Value],
    in_range: bool = False,
) -> ir.Value:
    """Put a float tensor onto a grid.

    Args:
        value: the float tensor.
        name: what it is called, without suffix.
        grid: the stem of the names of the grid's constants.
        params: the grid.
        node: adds a node.
        constant: an initialiser, made once for each name.
        in_range: whether the values lie on this grid already, so that no Clip is needed.

    Returns:
        The float tensor on the grid.
    """
    storage_dtype = ir.DataType[params.dtype.upper()]
    on_grid = grid_constants(grid, params, constant)
    clips = params.is_sub_range and not in_range
    wanted = f"{name}_unclipped" if clips else f"{name}_quantized"
    integers = node("QuantizeLinear", [value, *on_grid], wanted, storage_dtype)
    if clips:
        limits = [
            constant(f"{grid}_{end}", np.array(limit, params.dtype))
            for end, limit in (("qmin", params.qmin), ("qmax", params.qmax))
        ]
        integers = node("Clip", [integers, *limits], f"{name}_quantized", storage_dtype)
    return node("DequantizeLinear", [integers, *on_grid], f"{name}_dequantized", ir.DataType.FLOAT)


def grid_constants(
    grid: str, params: QuantParams, constant: Callable[[str, NDArray[Any]], ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """The scale and the zero point of a grid as initialisers."""
    zero_point = params.zero_point.astype(params.dtype)
    return constant(f"{grid}_scale", params.scale), constant(f"{grid}_zero_point", zero_point)
