"""What single nodes of a QDQ model say."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import grid_of, merged_errors


def _dequantizer(axis: int, scales: int, shape: tuple[int | str, ...], *, stored: bool) -> ir.Node:
    given = (
        ir.Value(name="w", const_value=ir.tensor(np.ones((2, 3), np.int8)))
        if stored
        else ir.Value(name="w", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.INT8))
    )
    steps = ir.Value(name="s", const_value=ir.tensor(np.ones(scales, np.float32)))
    return ir.node("DequantizeLinear", [given, steps], attributes={"axis": axis})


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(("axis", "scales"), [(2, 3), (-3, 3), (2**31 - 1, 3), (0, 3), (1, 4)])
def test_scales_along_an_axis_that_is_not_there_are_refused(
    axis: int, scales: int, stored: bool
) -> None:
    with pytest.raises(ArtefactError, match=f"has {scales} scales along axis {axis} of a tensor"):
        grid_of(_dequantizer(axis, scales, (2, 3), stored=stored))


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 3)), (-1, (2, 3)), (1, (2, "N"))])
def test_those_of_each_channel_are_taken(axis: int, shape: tuple[int | str, ...]) -> None:
    assert grid_of(_dequantizer(axis, 3, shape, stored="N" not in shape)).axis == axis


def test_what_is_said_of_many_nodes_is_said_once() -> None:
    alike = [f"Conv '{name}' has weights 'w{name}' off centre" for name in "abcd"]
    others = ["Gemm 'e' has weights 'we' off centre", "Conv 'f' has 3 scales"]
    found = merged_errors([ArtefactError(what, hint="h") for what in [*alike, *others, *alike]])
    assert found.what.splitlines() == [
        "6 things stand in the way:",
        "  Conv 'a' has weights 'wa' off centre; the same of 3 others: 'b', 'c', 'd'",
        "  Gemm 'e' has weights 'we' off centre",
        "  Conv 'f' has 3 scales",
    ]
    assert found.hint == "h"
    few = merged_errors([ArtefactError(what, hint="h") for what in alike[:2]])
    assert few.what.splitlines()[1:] == [f"  {each}" for each in alike[:2]]
