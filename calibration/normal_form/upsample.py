"""Where Upsample, and Resize before opset 11, sample.

Asymmetrically, which onnx's converter of versions does not write down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgeq.calibration._nodes import floats, name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAID_SINCE = 11
_SAMPLING = frozenset(("Upsample", "Resize"))


def keep_sampling(converted: ir.Graph, given: ir.Graph) -> None:
    """Give each Resize the sampling that it had in the file, in place.

    Args:
        converted: the graph in a new operator set.
        given: the graph as the file has it.
    """
    if given.opset_imports.get("", _SAID_SINCE) >= _SAID_SINCE:
        return
    made = {name_of(value) for node in converted for value in node.outputs}
    before, after = (
        [node for node in graph if node.op_type in _SAMPLING] for graph in (given, converted)
    )
    # the converter keeps their order, but not the names of what they make
    for old, new in zip(before, after, strict=True):
        new.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "asymmetric"
        )
        rounding = "ceil" if _shrinks(_scales(new)) else "floor"
        new.attributes["nearest_mode"] = ir.AttrString("nearest_mode", rounding)
        if name_of(old.outputs[0]) not in made:
            new.outputs[0].name = name_of(old.outputs[0])


def _scales(node: ir.Node) -> NDArray[Any] | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type == "Constant":
        return producer.attributes["value"].as_tensor().numpy()
    return floats(node, 2)


def _shrinks(scales: NDArray[Any] | None) -> bool:
    return scales is not None and bool((scales < 1).any())
