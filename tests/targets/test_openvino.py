"""What OpenVINO does with each operator and storage dtype, and what the target avoids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from tests.support.models import onnx_models
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.devices import layer_by_layer, need, openvino, output_lsb

from edgeq.errors import TargetError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import OPENVINO, Dialect
from edgeq.formats.onnx_io import serialize
from edgeq.plan import Planner
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Build = Callable[[str, int], Graph]

IMAGE = np.random.default_rng(0).normal(0, 2, (1, 8, 8, 8)).astype(np.float32)
GRIDS = (("uint8", 0), ("uint8", 128), ("uint8", 240), ("int8", 0), ("int8", -128))
TARGET = TARGETS.load("openvino")


@pytest.fixture(autouse=True)
def _usable() -> None:
    need("openvino")


def start(activation_dtype: str, zero: int) -> tuple[Graph, str, Grid]:
    graph = Graph()
    return (
        graph,
        graph.input("x", [1, 8, 8, 8], Grid(0.05, zero, activation_dtype)),
        Grid(0.2, zero, activation_dtype),
    )


def convolution(activation_dtype: str, zero: int) -> Graph:
    graph, x, grid = start(activation_dtype, zero)
    graph.weighted("Conv", x, "y", (8, 8, 3, 3), grid, per_channel=True, relu=True)
    return graph


def depthwise(activation_dtype: str, zero: int) -> Graph:
    graph, x, grid = start(activation_dtype, zero)
    graph.weighted("Conv", x, "y", (8, 1, 3, 3), grid, group=8, strides=[2, 2])
    return graph


def addition(activation_dtype: str, zero: int) -> Graph:
    graph, x, grid = start(activation_dtype, zero)
    one = graph.weighted("Conv", x, "a", (8, 8, 3, 3), grid, pads=[1] * 4)
    graph.op(
        "Add",
        [one, graph.weighted("Conv", x, "b", (8, 8, 1, 1), grid)],
        "y",
        Grid(0.31, zero, activation_dtype),
        relu=True,
    )
    return graph


def average(activation_dtype: str, zero: int) -> Graph:
    graph, x, grid = start(activation_dtype, zero)
    graph.op(
        "AveragePool",
        [graph.weighted("Conv", x, "a", (8, 8, 3, 3), grid)],
        "y",
        grid,
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    return graph


def dense(activation_dtype: str, zero: int) -> Graph:
    graph, x, grid = start(activation_dtype, zero)
    pooled = graph.op("GlobalAveragePool", [x], "pool", Grid(0.02, zero, activation_dtype))
    flat = graph.node("Flatten", [pooled], "flat", axis=1)
    graph.scales[flat] = graph.scales[pooled]
    graph.weighted("Gemm", flat, "y", (10, 8), grid, transB=1)
    return graph


def joined(activation_dtype: str, zero: int) -> Graph:
    """A concatenation that a convolution reads."""
    graph, x, grid = start(activation_dtype, zero)
    branches = [
        graph.weighted("Conv", x, "a", (8, 8, 3, 3), grid, pads=[1] * 4),
        graph.weighted("Conv", x, "b", (8, 8, 1, 1), grid),
    ]
    graph.weighted(
        "Conv",
        graph.op("Concat", branches, "joined", grid, axis=1),
        "y",
        (4, 16, 1, 1),
        Grid(0.3, zero, activation_dtype),
    )
    return graph


def padded(activation_dtype: str, zero: int, *, shared: bool) -> Graph:
    """The shortcut of CIFAR's ResNets: every second pixel, with channels of zeros."""
    graph, x, grid = start(activation_dtype, zero)
    first = graph.weighted("Conv", x, "a", (8, 8, 3, 3), grid, pads=[1] * 4)
    bounds = [
        graph.ints(name, values)
        for name, values in (("s", [0, 0]), ("e", [8, 8]), ("axes", [2, 3]), ("steps", [2, 2]))
    ]
    small = graph.op("Slice", [first, *bounds], "small", grid)
    wide = graph.op("Pad", [small, graph.ints("widths", [0, 4, 0, 0, 0, 4, 0, 0])], "wide", grid)
    branch = graph.weighted("Conv", first, "b", (16, 8, 3, 3), grid, pads=[1] * 4, strides=[2, 2])
    graph.op("Add", [branch, wide], "y", Grid(0.31, zero, activation_dtype))
    if shared:
        share(graph, "a", ("small", "wide"))
    return graph


def share(graph: Graph, owner: str, others: tuple[str, ...]) -> None:
    """Let the quantisers of several tensors read the constants of one."""
    taken = {
        f"{name}_{part}": f"{owner}_{part}" for name in others for part in ("scale", "zero_point")
    }
    for node in graph.nodes:
        node.input[:] = [taken.get(name, name) for name in node.input]
    graph.constants = [constant for constant in graph.constants if constant.name not in taken]


def worst(model: ir.Model, image: NDArray[np.float32] = IMAGE) -> int:
    return max(map(abs, output_lsb(model, image, openvino)))


def save(model: ir.Model, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(serialize(model))
    return path


class TestTheRule:
    """int8 or uint8: each operator alone in both, then the one that goes wrong."""

    @pytest.mark.parametrize(("activation_dtype", "zero"), GRIDS)
    @pytest.mark.parametrize("build", [convolution, depthwise, addition, average, dense])
    def test_these_operators_are_within_one_lsb_in_both_storage_dtypes(
        self, build: Build, activation_dtype: str, zero: int
    ) -> None:
        assert worst(build(activation_dtype, zero).output()) <= 1

    @pytest.mark.parametrize("zero", [0, -128, 112])
    def test_a_concatenation_in_int8_in_front_of_a_convolution_is_computed_wrongly(
        self, zero: int
    ) -> None:
        found = worst(joined("int8", zero).output())
        if not found:
            pytest.skip(
                "OpenVINO computes it rightly on this processor, as it does on one with AMX"
            )
        assert found > 1

    @pytest.mark.parametrize("zero", [0, 128, 240])
    def test_in_uint8_it_is_exact(self, zero: int) -> None:
        assert worst(joined("uint8", zero).output()) == 0

    def test_the_target_refuses_int8_and_its_dialect_is_the_hint(self, tmp_path: Path) -> None:
        model = joined("int8", -128).output()
        with pytest.raises(TargetError, match=r"held in int8\n.*--for openvino"):
            TARGET.open(save(model, tmp_path))
        rewritten = to_dialect(model, OPENVINO)
        assert worst(rewritten) == 0
        with TARGET.open(save(rewritten, tmp_path)) as session:
            assert session.run(IMAGE).shape == (1, 4, 8, 8)

    @pytest.mark.parametrize("zero", [128, 240])
    def test_a_pad_behind_a_shared_zero_point_breaks_the_compiler(self, zero: int) -> None:
        with pytest.raises(RuntimeError, match="shapes are inconsistent"):
            worst(padded("uint8", zero, shared=True).output())
        assert worst(padded("uint8", zero, shared=False).output()) <= 1

    def test_the_target_says_so_first_and_its_dialect_is_the_hint(self, tmp_path: Path) -> None:
        model = padded("uint8", 128, shared=True).output()
        with pytest.raises(
            TargetError, match=r"Pad 'wide/Pad' .* zero point, 128, is stored once for 3 tensors"
        ):
            TARGET.open(save(model, tmp_path))
        rewritten = to_dialect(model, OPENVINO)
        assert worst(rewritten) <= 1
        with TARGET.open(save(rewritten, tmp_path)) as session:
            assert session.output.dtype == "float32"

    def test_a_pad_behind_zero_point_zero_may_share(self, tmp_path: Path) -> None:
        model = padded("uint8", 0, shared=True).output()
        assert worst(model) <= 1
        with TARGET.open(save(model, tmp_path)) as session:
            assert session.output.dtype == "float32"


class TestFourBits:
    @pytest.mark.parametrize("narrow", ["clip", "saturate"])
    def test_both_spellings_stay_in_integers_and_are_exact(
        self, narrow: Any, tmp_path: Path
    ) -> None:
        graph, x, _ = start("uint8", 128)
        inner = graph.weighted(
            "Conv", x, "a", (8, 8, 3, 3), Grid(0.5, 0, "uint8", (0, 15)), relu=True
        )
        graph.weighted("Conv", inner, "y", (8, 8, 3, 3), Grid(0.2, 128))
        model = to_dialect(graph.output(), Dialect(sub_range=narrow))
        counts = layer_by_layer(model, IMAGE, openvino)
        assert all(set(found) <= {-1, 0, 1} for found in counts.values())
        assert max(found[-1] + found[1] for found in counts.values()) <= 1, "at a tie only"
        with TARGET.open(save(model, tmp_path)) as session:
            assert session.facts["multiplying in int8"] == "2 of 2 layers"


class TestPlan:
    def plan(self, model: ir.Model, folder: Path) -> dict[str, tuple[str, str]]:
        assert isinstance(TARGET, Planner)
        return {op.name: (op.arithmetic, op.why) for op in TARGET.plan(save(model, folder)).ops}

    def test_a_quantised_network_runs_in_integers(self, tmp_path: Path) -> None:
        found = self.plan(joined("uint8", 0).output(), tmp_path)
        assert {name: arithmetic for name, (arithmetic, _) in found.items()} == {
            "a/Conv": "integer", "b/Conv": "integer", "joined/Concat": "integer",
            "y/Conv": "integer",
        }  # fmt: skip

    def test_macs_are_counted(self, tmp_path: Path) -> None:
        assert isinstance(TARGET, Planner)
        ops = TARGET.plan(save(convolution("uint8", 0).output(), tmp_path)).ops
        assert [op.macs for op in ops if op.op_type == "Conv"] == [8 * 6 * 6 * 8 * 9]

    def test_what_runs_in_float_says_why(self, tmp_path: Path) -> None:
        graph, x, grid = start("uint8", 128)
        graph.weighted("ConvTranspose", x, "up", (8, 8, 2, 2), grid, channel_axis=1, strides=[2, 2])
        path = save(graph.output(), tmp_path)
        assert self.plan(graph.output(), tmp_path)["up/ConvTranspose"] == (
            "float",
            ("OpenVINO transposes convolutions in integers only where the input's zero point is 0"),
        )  # fmt: skip
        with TARGET.open(path) as session:
            assert session.facts["multiplying in int8"] == "0 of 1 layers"
            assert "up" in session.facts["multiplying in float"]

    def test_a_step_of_one_behind_a_transpose_is_float_and_says_so(self, tmp_path: Path) -> None:
        graph = Graph()
        graph.inputs.append(
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 8, 8, 3])
        )
        graph.node("Transpose", ["pixels"], "x", perm=[0, 3, 1, 2])
        graph.weighted("Conv", graph.quantize("x", Grid(1.0, 0)), "y", (8, 3, 3, 3), Grid(4.0, 0))
        assert self.plan(graph.output(), tmp_path)["y/Conv"] == (
            "float",
            ("its input has the step 1 and the zero point 0: OpenVINO folds that dequantisation "
             "away, and the convolution with it"),
        )  # fmt: skip

    def test_a_float_network_is_all_float_and_no_bfloat16(self, tmp_path: Path) -> None:
        path = onnx_models.save(onnx_models.float_model(), tmp_path / "float.onnx")
        images = onnx_models.images(4)
        with TARGET.open(path) as session, TARGETS.load("ort-cpu-ref").open(path) as other:
            np.testing.assert_allclose(session.run(images), other.run(images), rtol=1e-5, atol=1e-5)
            assert session.facts["float precision"] == "f32"
        assert isinstance(TARGET, Planner)
        assert {op.arithmetic for op in TARGET.plan(path).ops if op.macs} == {"float"}


def test_what_the_compiler_refuses_is_told_without_places_in_its_source(tmp_path: Path) -> None:
    graph, x, _ = start("uint8", 0)
    graph.node("NoSuchOperator", [x], "y")
    proto = ir.to_proto(graph.model("y"))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(Exception, match="NoSuchOperator") as caught:
        TARGET.open(path)
    assert "Exception from" not in str(caught.value)
