"""Block reconstruction: blocks are where the graph has them, and answer no worse than before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import helper

from edgeq.calibration._nodes import constant
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.methods.block_reconstruction import BlockReconstruction
from edgeq.calibration.methods.parts.layer_pairs import BlockPair, LayerPairs
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.calibration.statistics.file import MethodRecord
from edgeq.calibration.statistics.resume import MethodProgress
from edgeq.errors import UsageError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import CANONICAL

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


def net(build: Build, *, outputs: tuple[str, ...] = ("y",)) -> ir.Model:
    """A stem, a residual block whose shortcut is cut and padded, and a dense layer."""
    random = np.random.default_rng(5)
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "stem", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "one", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "two", pads=[1] * 4),
        helper.make_node("Slice", ["r0", "from", "to", "axes", "by"], ["half"]),
        helper.make_node("Pad", ["half", "pads"], ["short"]),
        helper.make_node("Add", ["c2", "short"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["y"], "dense", transB=1),
    ]
    shapes = {"w0": (6, 3, 3, 3), "w1": (8, 6, 3, 3), "w2": (8, 8, 3, 3), "w3": (5, 8)}
    constants: dict[str, NDArray[Any]] = {
        name: (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]) / 2)).astype(np.float32)
        for name, shape in shapes.items()
    }
    constants |= {
        f"b{index}": (random.normal(size=size) / 4).astype(np.float32)
        for index, size in enumerate((6, 8, 8, 5))
    }
    constants |= {
        "from": np.array([0, 0]),
        "to": np.array([99, 99]),
        "axes": np.array([2, 3]),
        "by": np.array([2, 2]),
        "pads": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
    }
    return build(nodes, constants, ("n", 3, 8, 8), outputs=outputs)


def samples() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(64, 3, 8, 8)).astype(np.float32)


def quantized(model: ir.Model, *methods: str) -> ir.Model:
    config = CalibrationConfig(methods=methods, weight_bits=4, act_bits=4)
    return quantize_onnx(model, np.array_split(samples(), 4), config)


def names(layers: LayerPairs) -> list[list[str]]:
    return [
        [each.name for each in part.layers] if isinstance(part, BlockPair) else [part.name]
        for part in layers.blocks()
    ]


def blocks(before: ir.Model, after: ir.Model) -> list[BlockPair]:
    found = list(LayerPairs(before, after, [{"x": samples()}]).blocks())
    return [part for part in found if isinstance(part, BlockPair)]


def errors(before: ir.Model, after: ir.Model) -> list[float]:
    """The squared error of each block's answer to what it reads."""
    return [float(((answer(block) - block.target) ** 2).sum()) for block in blocks(before, after)]


def answer(block: BlockPair) -> NDArray[np.float32]:
    return block.function(torch.from_numpy(block.inputs), {}, {}).numpy()


def test_blocks_are_between_the_places_where_one_tensor_is_alive(build: Build) -> None:
    model = net(build)
    before, after = fold_onnx(model), quantized(model)
    found = blocks(before, after)
    assert [[layer.name for layer in block.layers] for block in found][:2] == [
        ["stem"],
        ["one", "two"],
    ]
    assert np.allclose(found[1].float_inputs, np.maximum(found[0].target, 0), atol=1e-5)


def test_a_block_in_torch_computes_what_the_graph_computes(build: Build) -> None:
    model = net(build)
    first, second = blocks(fold_onnx(model), quantized(model))[:2]
    found, wanted = answer(first), second.inputs
    (grid,) = (each for each in first.function.grids.values())
    apart = np.abs(found - wanted) / grid.step
    assert apart.max() <= 1.001  # a tie may fall to the other side
    assert (apart > 0.5).mean() < 1e-3


def test_a_graph_with_an_output_inside_a_block_is_learnt_by_layers(build: Build) -> None:
    model = net(build, outputs=("y", "r1"))
    layers = LayerPairs(fold_onnx(model), quantized(model), [{"x": samples()}])
    assert names(layers) == [["stem"], ["one"], ["two"], ["dense"]]


def test_no_block_ends_worse_than_nearest_rounding(build: Build) -> None:
    model = net(build)
    before, nearest = fold_onnx(model), quantized(model)
    learnt = quantized(model, "reconstruct:steps=60")
    assert errors(before, learnt)[0] <= errors(before, nearest)[0]
    assert sum(errors(before, learnt)) < 0.9 * sum(errors(before, nearest))
    to_dialect(learnt, CANONICAL)


def test_biases_stay_on_the_product_of_the_learnt_steps(build: Build) -> None:
    model = net(build)
    before, after = fold_onnx(model), quantized(model, "reconstruct:steps=40,scale_rate=0.01")
    plain = quantized(model)
    moved = [
        grid.step / old.step
        for block, was in zip(blocks(before, after), blocks(before, plain), strict=True)
        for grid, old in zip(
            block.function.grids.values(), was.function.grids.values(), strict=True
        )
    ]
    assert max(np.abs(np.log(moved))) > 1e-3
    for node in after.graph:
        if node.op_type in ("Conv", "Gemm"):
            producers = [value.producer() for value in node.inputs if value is not None]
            scales = [
                np.asarray(constant(each.inputs[1])) for each in producers if each is not None
            ]
            assert np.array_equal(scales[2], scales[0] * scales[1])


class Stopped(BaseException):
    """What stands for the end of a process."""


def test_blocks_that_were_done_are_passed_over_after_an_interruption(build: Build) -> None:
    model, fed = net(build), [{"x": samples()}]
    before, method, plain = fold_onnx(model), BlockReconstruction(steps=5), quantized(model)
    whole, stopped, resumed = (plain.clone() for _ in range(3))
    method.apply(LayerPairs(before, whole, fed))
    record, calls = MethodRecord("reconstruct"), 0

    def changed() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Stopped

    done = MethodProgress(record, stopped.graph, changed)
    with pytest.raises(Stopped):
        method.apply(LayerPairs(before, stopped, fed, done=done))
    assert record.layers == ["stem", "one", "two"]
    done = MethodProgress(record, resumed.graph, lambda: None)
    assert method.apply(LayerPairs(before, resumed, fed, done=done)).endswith("of 1 block")
    for name, value in whole.graph.initializers.items():
        other = constant(resumed.graph.initializers[name])
        assert np.array_equal(np.asarray(constant(value)), np.asarray(other))


@pytest.mark.parametrize("setting", ["drop=1.0", "scale_rate=-1", "steps=0"])
def test_settings_with_which_nothing_is_learnt_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=r"^block reconstruction "):
        CalibrationConfig(methods=(f"reconstruct:{setting}",))
