"""Tensors inside two files whose names are others are paired by weights and structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from tests.support.faults.networks import SHAPES, network, samples
from tests.support.faults.origins import origin

import edgeq

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.results import Comparison


def compared(folder: Path, real: onnx.ModelProto) -> Comparison:
    """The float network beside the quantised one, each on the reference."""
    onnx.save(network("small"), folder / "quantised.onnx")
    onnx.save(real, folder / "real.onnx")
    files = [folder / "real.onnx", folder / "quantised.onnx"]
    return edgeq.compare(files, samples(SHAPES["small"]), targets=["ort-cpu-ref"])


@pytest.mark.parametrize("renamed", [True, False])
def test_other_names_find_the_same_tensors(tmp_path: Path, *, renamed: bool) -> None:
    found = compared(tmp_path, origin(network("small"), renamed=renamed))
    (hop,) = found.hops
    assert not hop.without_tensors
    assert hop.cause == "quantisation"
    assert len(hop.tensors) >= 6
    assert all(tensor.tensor.startswith("value_") for tensor in hop.tensors[:-1]) is renamed
    assert min(tensor.sqnr_db for tensor in hop.tensors) > 20
    told = [each for each in found.remarks if "by weights and structure" in each]
    assert bool(told) is renamed


def test_another_network_has_no_tensors_in_common(tmp_path: Path) -> None:
    x = onnx.helper.make_tensor_value_info("in", 1, [1, *SHAPES["small"]])
    y = onnx.helper.make_tensor_value_info("out", 1, [1, 5])
    weights = onnx.numpy_helper.from_array(
        np.ones((int(np.prod(SHAPES["small"])), 5), np.float32), "w"
    )
    nodes = [
        onnx.helper.make_node("Flatten", ["in"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["out"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [weights])
    opset = onnx.helper.make_opsetid("", 21)
    other = onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset])
    (hop,) = compared(tmp_path, other).hops
    assert hop.tensors == ()
    assert hop.without_tensors == "no tensor inside has the same name and size in both"
