"""What the simulator of Qualcomm's HTP does with QDQ files.

How it rounds, what it leaves out, and what it refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models import onnx_models
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.devices import htp, layer_by_layer, need, output_lsb, reference

from edgeq.errors import TargetError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import SATURATING
from edgeq.formats.onnx_io import serialize
from edgeq.plan import Planner
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE = np.random.default_rng(0).normal(0, 2, (1, 8, 16, 16)).astype(np.float32)
TARGET = TARGETS.load("qnn-htp")


@pytest.fixture(autouse=True)
def _usable() -> None:
    need("qnn-htp")


def start(zero: int = 128) -> tuple[Graph, str]:
    graph = Graph()
    return graph, graph.input("x", [1, 8, 16, 16], Grid(0.05, zero))


def convolved(graph: Graph, x: str, grid: Grid, *, relu: bool = False) -> str:
    return graph.weighted("Conv", x, "a", (8, 8, 3, 3), grid, relu=relu)


def save(model: ir.Model, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(serialize(model))
    return path


def worst(model: ir.Model) -> int:
    return max(map(abs, output_lsb(model, IMAGE, htp)))


def bounded(low: int, high: int, zero: int) -> ir.Model:
    """A float Clip between two equal pairs, its bounds in steps from zero."""
    graph, x = start()
    inner = convolved(graph, x, Grid(1.0, zero))
    graph.op(
        "Clip", [inner, graph.number("low", low), graph.number("high", high)], "y", Grid(1.0, zero)
    )
    return graph.output()


class TestClips:
    @pytest.mark.parametrize(
        ("low", "high", "zero"),
        [(0, 127, 128), (-8, 7, 248), (0, 15, 240), (0, 15, 0), (-128, 20, 128)],
    )
    def test_one_with_a_bound_on_one_side_only_is_left_out(
        self, low: int, high: int, zero: int, tmp_path: Path
    ) -> None:
        model = bounded(low, high, zero)
        assert worst(model) > 50, "then such files may be let in again"
        with pytest.raises(TargetError, match=r"leave out what bounds a tensor: Clip 'y/Clip'"):
            TARGET.open(save(model, tmp_path))

    @pytest.mark.parametrize(
        ("low", "high", "zero"), [(-8, 7, 128), (10, 60, 128), (-128, 127, 128), (0, 255, 0)]
    )
    def test_one_with_both_or_none_is_computed(
        self, low: int, high: int, zero: int, tmp_path: Path
    ) -> None:
        model = bounded(low, high, zero)
        assert worst(model) <= 1
        with TARGET.open(save(model, tmp_path)) as session:
            assert session.output.dtype == "float32"

    @pytest.mark.parametrize(("zero", "clip"), [(0, (0, 15)), (128, (120, 135)), (0, (2, 9))])
    def test_narrow_ranges_are_written_around_it(
        self, zero: int, clip: tuple[int, int], tmp_path: Path
    ) -> None:
        graph, x = start()
        inner = convolved(graph, x, Grid(4.0, zero, "uint8", clip), relu=zero == 0)
        graph.weighted("Conv", inner, "y", (4, 8, 3, 3), Grid(2.0, 128))
        model = to_dialect(graph.output(), SATURATING)
        assert not [node for node in model.graph if node.op_type == "Clip"]
        assert all(set(found) <= {-1, 0, 1} for found in layer_by_layer(model, IMAGE, htp).values())
        with TARGET.open(save(model, tmp_path)) as session:
            assert session.output.dtype == "float32"

    def test_one_on_integers_is_refused_with_the_hint(self, tmp_path: Path) -> None:
        graph, x = start()
        convolved(graph, x, Grid(4.0, 0, "uint8", (0, 15)), relu=True)
        path = save(graph.output(), tmp_path)
        with pytest.raises(
            TargetError, match=rf"bounds integers\n.*edgeq export {path} --for qnn-htp"
        ):
            TARGET.open(path)


def test_a_relu_in_front_of_a_zero_point_inside_the_range_is_taken_apart(tmp_path: Path) -> None:
    graph, x = start()
    convolved(graph, x, Grid(1.0, 100), relu=True)
    with pytest.raises(
        TargetError, match=r"QNN does not take 'a\.bias/DequantizeLinear' \(Dequantize\) on the HTP"
    ):
        TARGET.open(save(graph.output(), tmp_path))
    model = to_dialect(graph.output(), SATURATING)
    assert worst(model) <= 1
    with TARGET.open(save(model, tmp_path)) as session:
        assert session.facts["on the HTP"] == "the whole graph"


class TestBiases:
    def biased(self, bias: int) -> ir.Model:
        """A 1x1 convolution whose bias is worth 40 steps, and its products hardly anything."""
        graph, x = start()
        step = float(np.float32(40.0 / abs(bias) / 0.05))
        weights = graph.stored(
            "w", graph.rng.integers(-127, 128, (8, 8, 1, 1)).astype(np.int8), step
        )
        graph.op(
            "Conv",
            [
                x,
                weights,
                graph.stored(
                    "b", np.full(8, bias, np.int32), float(np.float32(0.05) * np.float32(step))
                ),
            ],
            "y",
            Grid(1.0, 128),
        )
        return graph.output()

    @pytest.mark.parametrize("bias", [2**29, -(2**29) - 2**28])
    def test_the_largest_wrap_around(self, bias: int, tmp_path: Path) -> None:
        model = self.biased(bias)
        assert worst(model) > 50, "then such files may be let in again"
        with pytest.raises(
            TargetError, match=rf"of more than 29 bits wrap around: 'b_quantized' reaches {bias}"
        ):
            TARGET.open(save(model, tmp_path))

    @pytest.mark.parametrize("bias", [2**28 - 1, -(2**28)])
    def test_up_to_29_bits_they_are_right(self, bias: int, tmp_path: Path) -> None:
        model = self.biased(bias)
        assert worst(model) <= 1
        with TARGET.open(save(model, tmp_path)) as session:
            assert session.facts["on the HTP"] == "the whole graph"


class TestRounding:
    """Equal integers in, so that what differs is rounding."""

    def fed(self, graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The HTP's results for random integers, and the exact ones, in steps of the output."""
        proto = graph.proto(graph.nodes[-1].output[0])
        first = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear")
        last = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"][-1]
        proto.graph.node.remove(first)
        proto.graph.node.pop()
        del proto.graph.input[:], proto.graph.output[:]
        proto.graph.input.append(
            helper.make_tensor_value_info(first.output[0], TensorProto.UINT8, [1, 8, 16, 16])
        )
        proto.graph.output.append(
            helper.make_tensor_value_info(last.output[0], TensorProto.UINT8, None)
        )
        integers = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 16)).astype(np.uint8)
        content = proto.SerializeToString()
        proto.graph.output.append(helper.make_empty_tensor_value_info(last.input[0]))
        (real,) = reference(proto.SerializeToString(), {first.output[0]: integers}, [last.input[0]])
        constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        scale, zero = (constants[name].astype(np.float64) for name in last.input[1:3])
        (got,) = htp(content, {first.output[0]: integers}, [last.output[0]])
        return got.astype(np.float64), real.astype(np.float64) / scale + zero

    def test_averages_round_ties_up(self) -> None:
        graph, x = start()
        graph.op("AveragePool", [x], "y", Grid(0.05, 128), kernel_shape=[2, 2], strides=[2, 2])
        got, exact = self.fed(graph)
        ties = np.isclose(exact % 1, 0.5, atol=1e-3)
        assert ties.sum() > 50
        assert np.array_equal(got[ties], np.ceil(exact[ties] - 1e-3))
        assert np.array_equal(got[~ties], np.rint(exact[~ties]))

    @pytest.mark.parametrize("per_channel", [False, True])
    def test_convolutions_are_within_a_quarter_step_of_rounding_right(
        self, per_channel: bool
    ) -> None:
        graph, x = start()
        graph.weighted("Conv", x, "y", (8, 8, 3, 3), Grid(1.0, 128), per_channel=per_channel)
        got, exact = self.fed(graph)
        error = np.abs(got - np.clip(exact, 0, 255))
        assert 0.5 < error.max() <= 0.75
        assert (got != np.rint(np.clip(exact, 0, 255))).mean() < 0.1

    def test_what_only_moves_numbers_or_takes_the_greater_is_exact(self) -> None:
        graph, x = start(240)
        pooled = graph.op("MaxPool", [x], "pool", Grid(0.05, 240), kernel_shape=[2, 2])
        graph.op("Relu", [pooled], "y", Grid(0.05, 240))
        got, exact = self.fed(graph)
        assert np.array_equal(got, np.rint(exact))


class TestTarget:
    def test_what_qnn_does_not_know_is_named(self, tmp_path: Path) -> None:
        graph, x = start()
        graph.op("Erf", [convolved(graph, x, Grid(1.0, 128))], "y", Grid(0.01, 128))
        with pytest.raises(
            TargetError,
            match=r"QNN does not take 'y/Erf' \(Erf\) on the HTP, and falling back to the CPU is "
            r"forbidden",
        ):
            TARGET.open(save(graph.output(), tmp_path))

    def test_a_free_batch_is_fixed_and_its_time_is_told(self, tmp_path: Path) -> None:
        model = to_dialect(ir.from_proto(onnx_models.qdq_model(batch="N")), SATURATING)
        path = save(model, tmp_path)
        with TARGET.open(path) as session:
            assert session.run(onnx_models.images(3)).shape[0] == 3
            assert session.facts["provider"].startswith("QNN, HTP simulated")
            assert float(session.facts["compiled in"].removesuffix(" s")) > 0
        assert TARGET.capabilities.latency == "simulated"

    def test_the_plan_is_the_whole_graph(self, tmp_path: Path) -> None:
        assert isinstance(TARGET, Planner)
        graph, x = start()
        convolved(graph, x, Grid(1.0, 128))
        (op,) = TARGET.plan(save(graph.output(), tmp_path)).ops
        assert (op.op_type, op.arithmetic, op.macs) == ("Conv", "integer", 8 * 14 * 14 * 8 * 9)
