"""A float network with the weights of its layers in integers: dynamic quantisation.

Activations stay in float, and a runtime puts what a layer reads onto a grid of 8 bits as it runs.
So nothing has to be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import constant, integer, name_of, output
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.weight_methods.layer import FloatLayer
from edgeq.calibration.weight_methods.symmetric import method

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

_BITS = 8
_STEP = np.ones((), np.float32)  # of activations, which have none before they are there


def weights_only(model: ir.Model) -> ir.Model:
    """Put the weights of convolutions and dense layers behind a DequantizeLinear.

    Each output channel has a symmetric int8 grid of its own, and weights are rounded to nearest.
    Transposed convolutions, and those of several groups that are not depthwise, stay in float:
    TFLite has no hybrid kernel for them.

    Args:
        model: a canonical float model, see :func:`edgeq.calibration.quantize.fold_onnx`; it is
            changed.
    """
    draft = Draft(model.graph)
    for node in tuple(model.graph):
        weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is not None and _is_layer(node, weight):
            _store(draft, node, weight.astype(np.float32))
    return model


def _is_layer(node: ir.Node, weight: NDArray[np.generic]) -> bool:
    if node.domain or constant(node.inputs[0]) is not None or weight.dtype.kind != "f":
        return False
    if node.op_type in ("Gemm", "MatMul"):
        return weight.ndim == 2
    if node.op_type != "Conv":
        return False
    groups = integer(node, "group", 1)
    return groups == 1 or (weight.shape[1] == 1 and len(weight) % groups == 0)


def _store(draft: Draft, node: ir.Node, weight: NDArray[np.float32]) -> None:
    by_input = node.op_type == "MatMul" or (
        node.op_type == "Gemm" and not integer(node, "transB", 0)
    )
    rows = weight.T if by_input else weight
    name = f"{name_of(output(node))}_weight"
    layer = FloatLayer(name, rows, None, _STEP, _BITS)
    found = method.quantize(layer, np.asarray(method.scale(layer), np.float32))
    integers = found.values.T if by_input else found.values
    zeros = np.zeros(found.params.scale.shape, np.int8)
    inputs = [
        draft.constant(f"{name}_{what}", np.asarray(array))
        for what, array in (
            ("quantized", integers),
            ("scale", found.params.scale),
            ("zero_point", zeros),
        )
    ]
    axis = {"axis": 1 if by_input else 0}
    weights = draft.add(
        "DequantizeLinear", inputs, node, "weight", shape=weight.shape, attributes=axis
    )
    node.replace_input_with(1, weights)
