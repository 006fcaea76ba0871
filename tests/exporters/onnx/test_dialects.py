"""uint8 and int8 are two spellings of the same numbers, on the real runtime, bit for bit."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support.checks.exactness import Runtime
from tests.support.models.qdq_models import Graph, Grid

from edgeq.exporters.onnx.dialects import to_activation_dtype
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.qdq.reader import read_qdq
from edgeq.qdq.segments import cut
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import fx

    from edgeq.formats.dialect import ActivationDtype

    Lowered = Callable[[str, Scheme], ir.Model]
    Make = Callable[..., fx.GraphModule]

SHAPE = (3, 16, 16)
NETWORKS = ("resnet8", "resnet8-a", "stable-resnet8")
WIDTHS = (Scheme(4, 4), Scheme(4, 8), Scheme(3, 6, 7), Scheme(4, 4, placement="paper"))


@pytest.fixture(scope="module")
def lowered(network: Make) -> Lowered:
    """A network of the zoo in QDQ, which all tests look at and none changes."""
    return cache(lambda name, scheme: lower(network(name, scheme), SHAPE))


def images(samples: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (samples, *SHAPE)).astype(np.float32)


def centered(
    model: ir.Model, folder: Path
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.float32]]:
    """Every centered quantised tensor of the whole model, and the output, unoptimised."""
    cuts = cut(model).cuts
    shown = ir.from_proto(ir.to_proto(model))
    values = {value.name: value for node in shown.graph for value in node.outputs}
    shown.graph.outputs.extend(values[one.output] for one in cuts)
    names = [one.output for one in cuts]
    *found, output = Runtime.of(shown, folder, optimize=False).run(
        [*names, "output"], {"input": images()}
    )
    shifted = {
        one.name: value.astype(np.int64) - int(one.params.zero_point)
        for one, value in zip(cuts, found, strict=True)
    }
    return shifted, output


def equal(one: ir.Model, other: ir.Model, folder: Path) -> int:
    """Bit-identical in every tensor and in the output; returns how many tensors."""
    (first, first_output), (second, second_output) = centered(one, folder), centered(other, folder)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name
    assert np.array_equal(first_output, second_output)
    return len(first)


@pytest.mark.parametrize("scheme", WIDTHS, ids=lambda scheme: f"{scheme.name} {scheme.placement}")
@pytest.mark.parametrize("name", NETWORKS)
class TestOnTheZoo:
    def test_int8_computes_the_same(
        self, lowered: Lowered, name: str, scheme: Scheme, tmp_path: Path
    ) -> None:
        model = lowered(name, scheme)
        assert equal(model, to_activation_dtype(model, "int8"), tmp_path) >= 4

    def test_there_and_back(
        self, lowered: Lowered, name: str, scheme: Scheme, tmp_path: Path
    ) -> None:
        model = lowered(name, scheme)
        int8 = to_activation_dtype(model, "int8")
        uint8 = to_activation_dtype(int8, "uint8")
        equal(model, uint8, tmp_path)
        again = to_activation_dtype(uint8, "int8")
        equal(int8, again, tmp_path)
        assert grids(again) == grids(int8)

    def test_every_activation_is_in_the_storage_dtype_and_no_constant_moved(
        self, lowered: Lowered, name: str, scheme: Scheme
    ) -> None:
        model = lowered(name, scheme)
        storage_dtypes: tuple[ActivationDtype, ActivationDtype] = ("uint8", "int8")
        for activation_dtype in storage_dtypes:
            written = to_activation_dtype(model, activation_dtype)
            assert {one.params.dtype for one in cut(written).cuts} == {activation_dtype}
            assert constants(written) == constants(model)
            onnx.checker.check_model(
                onnx.load_model_from_string(serialize(written)), full_check=True
            )

    def test_the_model_is_left_as_it_is(self, lowered: Lowered, name: str, scheme: Scheme) -> None:
        model = lowered(name, scheme)
        before = serialize(model)
        to_activation_dtype(model, "int8")
        assert serialize(model) == before

    def test_its_own_storage_dtype_changes_nothing(
        self, lowered: Lowered, name: str, scheme: Scheme
    ) -> None:
        model = lowered(name, scheme)
        assert serialize(to_activation_dtype(model, "uint8")) == serialize(model)


def constants(model: ir.Model) -> dict[str, bytes]:
    """Weights and biases with their grids."""
    tensors = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if ".weight" in name or ".bias" in name
    }
    return {
        name: tensor.numpy().tobytes() for name, tensor in tensors.items() if tensor is not None
    }


def grids(model: ir.Model) -> dict[str, tuple[int, int, int]]:
    """Zero point and range of every quantised tensor."""
    return {
        one.name: (int(one.params.zero_point), one.params.qmin, one.params.qmax)
        for one in cut(model).cuts
    }


def test_a_four_bit_unsigned_activation_is_112_to_127_without_a_clip(network: Make) -> None:
    model = lower(network("resnet8"), SHAPE)
    int8 = to_activation_dtype(model, "int8")
    assert Counter(node.op_type for node in model.graph)["Clip"] == 6
    assert Counter(node.op_type for node in int8.graph)["Clip"] == 0
    narrow = {
        name
        for name, tensor in read_qdq(model).tensors().items()
        if (tensor.low, tensor.high) == (0, 15)
    }
    tensors = read_qdq(int8).tensors()
    assert len(narrow) == 6
    assert {
        (tensors[name].zero_point, tensors[name].low, tensors[name].high) for name in narrow
    } == {(112, 112, 127)}
    assert all(
        name in {value.name for node in int8.graph for value in node.outputs}
        for name in (f"{n}_quantized" for n in narrow)
    )


def test_views_stay_on_the_grid_that_they_read(network: Make) -> None:
    """A slice of a 4-bit tensor keeps its zero point: another one is another operator."""
    model = lower(network("stable-resnet8"), SHAPE)
    assert [op.op_type for op in read_qdq(to_activation_dtype(model, "int8")).ops] == [
        op.op_type for op in read_qdq(model).ops
    ]


def test_relus_that_saturation_makes_good_are_dropped(network: Make) -> None:
    model = lower(network("resnet8", Scheme(8, 8)), SHAPE)
    assert Counter(node.op_type for node in model.graph)["Relu"] == 7
    assert Counter(node.op_type for node in to_activation_dtype(model, "int8").graph)["Relu"] == 0


def test_the_runtime_computes_in_integers_after_there_and_back(
    network: Make, tmp_path: Path
) -> None:
    """The storage dtype that ONNX Runtime is fast with.

    In int8 it leaves sums of narrow tensors in float, which is why there are two.
    """
    model = to_activation_dtype(
        to_activation_dtype(lower(network("resnet8", Scheme(8, 8)), SHAPE), "int8"), "uint8"
    )
    ran = set(Runtime.of(model, tmp_path, optimize=True).operators)
    assert {"QLinearConv", "QLinearAdd", "QGemm"} <= ran
    assert not ran & {"Conv", "FusedConv", "Add"}


class TestClip:
    """A Clip goes only where its lower bound is seen to."""

    def model(
        self, zero: int, clip: tuple[int, int], *, relu: bool, dtype: str = "uint8"
    ) -> ir.Model:
        graph = Graph()
        x = graph.input("input", (1, 3, 4, 4), Grid(0.03, 128))
        graph.op("Relu" if relu else "Neg", [x], "y", Grid(0.05, zero, dtype, clip))
        return graph.output()

    def clips(self, model: ir.Model) -> int:
        return Counter(node.op_type for node in model.graph)["Clip"]

    def test_it_goes_behind_a_relu(self) -> None:
        assert self.clips(to_activation_dtype(self.model(0, (0, 15), relu=True), "int8")) == 0

    def test_it_stays_where_negative_values_may_come(self) -> None:
        written = to_activation_dtype(self.model(0, (0, 15), relu=False), "int8")
        assert self.clips(written) == 1
        tensor = cut(written).cuts[-1].params
        assert (int(tensor.zero_point), tensor.qmin, tensor.qmax) == (-128, -128, -113)

    def test_it_stays_on_a_signed_range(self) -> None:
        written = to_activation_dtype(self.model(128, (120, 135), relu=True), "int8")
        assert self.clips(written) == 1
        tensor = cut(written).cuts[-1].params
        assert (int(tensor.zero_point), tensor.qmin, tensor.qmax) == (0, -8, 7)

    @pytest.mark.parametrize("relu", [True, False])
    @pytest.mark.parametrize(("zero", "clip"), [(0, (0, 15)), (128, (120, 135)), (3, (3, 18))])
    def test_the_integers_are_the_same_in_any_case(
        self, zero: int, clip: tuple[int, int], relu: bool, tmp_path: Path
    ) -> None:
        model = self.model(zero, clip, relu=relu)
        x = np.random.default_rng(0).normal(0, 1, (1, 3, 4, 4)).astype(np.float32)
        spellings = (model, to_activation_dtype(model, "int8"))
        outputs = [
            Runtime.of(written, tmp_path, optimize=False).run(["y_dequantized"], {"input": x})[0]
            for written in spellings
        ]
        assert np.array_equal(outputs[0], outputs[1])
        assert len(np.unique(outputs[0])) > 3
