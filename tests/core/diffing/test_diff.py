"""Every planted fault is named, at its place and as what it is; what is the same stays silent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from tests.core.linting.test_clean_files import QUICK, SHAPE
from tests.support.checks.exactness import roughen
from tests.support.models.families import FAMILIES
from tests.support.models.lint_models import as_tflite, network, with_constants
from tests.support.models.public.catalogue import FAMILIES as PUBLIC

from edgeq.diffing import ModelDiff, diff
from edgeq.diffing.layers import layer_differences
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter as onnx_exporter
from edgeq.exporters.tflite import exporter as tflite_exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import parse
from edgeq.linting import onnx_view, tflite_view
from edgeq.linting.model import LintLayer
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    Constants = dict[str, np.ndarray[Any, Any]]


def as_view(model: onnx.ModelProto, *, tflite: bool) -> Any:
    if tflite:
        return tflite_view.view(as_tflite(model), "net.tflite")
    return onnx_view.view(ir.from_proto(model), "net.onnx")


def planted(fault: Callable[[Constants], None], *, tflite: bool) -> ModelDiff:
    before = network()
    return diff(
        as_view(before, tflite=tflite), as_view(with_constants(before, fault), tflite=tflite)
    )


def constant(constants: Constants, name: str) -> str:
    (found,) = (each for each in constants if each == name)
    return found


def scaled(name: str, factor: float) -> Callable[[Constants], None]:
    def fault(constants: Constants) -> None:
        constants[constant(constants, name)] *= np.float32(factor)

    return fault


def weight_scale(constants: Constants) -> None:
    """With the bias on the grid of both, as every runtime wants it."""
    for name in ("d.weight_scale", "d.bias_scale"):
        constants[name] *= np.float32(1.03)


def one_weight(constants: Constants) -> None:
    constants["c.weight_quantized"][7, 1, 2, 0] += 1


def swapped(constants: Constants) -> None:
    for name in ("c.weight_quantized", "c.bias_quantized"):
        constants[name][[3, 5]] = constants[name][[5, 3]]


def swapped_weights(constants: Constants) -> None:
    constants["c.weight_quantized"][[3, 5]] = constants["c.weight_quantized"][[5, 3]]


def turned(constants: Constants) -> None:
    constants["c.weight_quantized"] = constants["c.weight_quantized"].transpose(0, 1, 3, 2)


def one_bias(constants: Constants) -> None:
    constants["c.bias_quantized"][3] += 40


def zero_point(constants: Constants) -> None:
    constants["x_zero_point"] += np.uint8(1)


FAULTS: dict[str, tuple[Callable[[Constants], None], str, str, tuple[int, ...], str]] = {
    "weight scale": (weight_scale, "weight scale", "d", (), "x1.03 in all channels"),
    "one weight": (one_weight, "weights", "c", (7,), "1 of 1,080 integers differs, by up to 1"),
    "swapped": (swapped, "channels reordered", "c", (3, 5), "channels 3 and 5 change places"),
    "swapped weights": (swapped_weights, "channels reordered", "c", (3, 5), "their biases do not"),
    "turned": (
        turned,
        "weights transposed",
        "c",
        (),
        "rows and columns of the kernel",
    ),
    "one bias": (one_bias, "bias", "c", (3,), "+40 in channel 3"),
    "zero point": (zero_point, "zero point", "x", (), "moved by 1 step"),
}


@pytest.mark.parametrize("tflite", [False, True], ids=["onnx", "tflite"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_place(name: str, *, tflite: bool) -> None:
    fault, kind, where, channels, detail = FAULTS[name]
    found = planted(fault, tflite=tflite)
    (one,) = found.differences
    assert one.kind == kind
    assert where in one.where
    assert one.channels == channels
    assert detail in one.detail


def test_an_activation_scale_is_one_factor() -> None:
    def fault(constants: Constants) -> None:
        constants["x_scale"] *= np.float32(1.03)
        constants["c.bias_scale"] *= np.float32(1.03)

    (one,) = planted(fault, tflite=False).differences
    assert (one.kind, one.where, one.detail) == ("activation scale", "x", "x1.03")
    assert one.factor == pytest.approx(1.03, rel=1e-4)


def test_integers_that_are_read_on_another_grid() -> None:
    before, after = network(), network()
    initializer = next(each for each in after.graph.initializer if each.name == "x_zero_point")
    wrong = numpy_helper.from_array(numpy_helper.to_array(initializer) + np.uint8(2), "wrong")
    after.graph.initializer.append(wrong)
    reader = next(node for node in after.graph.node if node.op_type == "DequantizeLinear")
    reader.input[2] = "wrong"
    found = diff(as_view(before, tflite=False), as_view(after, tflite=False))
    told = {each.kind: each for each in found.differences}
    assert "the zero point +2" in told["integers read on another grid"].detail


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (0.9, "the same real weights on another grid, within rounding: "),
        (17.0, "rounded to 9 steps instead of 129: the real weights moved, "),
    ],
)
def test_weights_on_another_grid_are_the_same_only_within_rounding(
    factor: float, told: str
) -> None:
    def fault(constants: Constants) -> None:
        weights, scale = constants["c.weight_quantized"], constants["c.weight_scale"]
        new = scale * np.float32(factor)
        real = weights * scale.reshape(-1, 1, 1, 1)
        constants["c.weight_quantized"] = np.rint(real / new.reshape(-1, 1, 1, 1)).astype(np.int8)
        constants["c.weight_scale"] = new
        biases = np.rint(constants["c.bias_quantized"] / factor)
        constants["c.bias_quantized"] = biases.astype(np.int32)
        constants["c.bias_scale"] *= np.float32(factor)

    (one,) = planted(fault, tflite=False).differences
    assert one.kind == "weights requantised"
    assert one.detail.startswith(told)
    assert one.detail.endswith(" dB")


@pytest.mark.parametrize("name", ["c_scale", "d.weight_scale"])
@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_means_nothing_is_named_first(name: str, scale: float) -> None:
    def fault(constants: Constants) -> None:
        constants[name] *= np.float32(scale)

    first = planted(fault, tflite=False).differences[0]
    assert first.kind == "broken scale"
    assert first.where.startswith(name[0])


def test_a_bias_that_is_stored_in_another_shape_is_the_same() -> None:
    """As a damaged file has it."""
    layers = as_view(network(), tflite=True).layers
    layer = next(each for each in layers if each.bias is not None)
    assert layer.bias is not None
    shaped = replace(layer, bias=layer.bias[None])
    assert [*layer_differences(layer, shaped)] == []
    (found,) = layer_differences(layer, replace(shaped, bias=layer.bias[None] + 1))
    assert found.kind == "bias"


def test_layers_that_only_one_file_has() -> None:
    before, after = (as_view(network(), tflite=False) for _ in range(2))
    from dataclasses import replace

    shorter = replace(after, layers=after.layers[:1])
    (one,) = diff(before, shorter).differences
    assert (one.kind, one.where) == ("layer missing", before.layers[1].node)
    (one,) = diff(shorter, before).differences
    assert one.kind == "layer added"


def test_files_of_two_formats_without_a_common_name() -> None:
    from dataclasses import replace

    def fault(constants: Constants) -> None:
        for name in ("c_scale", "d.bias_scale"):
            constants[name] *= np.float32(1.5)

    first = as_view(network(), tflite=False)
    renamed = [
        replace(
            each,
            layers=tuple(replace(layer, node=f"{i}") for i, layer in enumerate(each.layers)),
            activations=(),
        )
        for each in (
            as_view(network(), tflite=True),
            as_view(with_constants(network(), fault), tflite=True),
        )
    ]
    assert diff(first, renamed[0]).differences == ()
    told = {(each.kind, each.where, each.detail) for each in diff(first, renamed[1]).differences}
    node = first.layers[0].node
    assert ("activation scale", f"result of {node}", "x1.5") in told


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_converted_exactly_holds_the_same_numbers(name: str, bits: int) -> None:
    import torch

    torch.manual_seed(0)
    module = roughen(quantize(FAMILIES[name](), Scheme(bits, bits), torch.zeros(1, *SHAPE)), SHAPE)
    model = lower(module, SHAPE)
    written = onnx_exporter.export(model, ExportOptions()).content
    first = onnx_view.view(parse(written, "it"), "net.onnx")
    assert diff(first, first).differences == ()
    tflite = tflite_exporter.export(model, ExportOptions(allow_float=True)).content
    found = diff(first, tflite_view.view(tflite, "net.tflite"))
    assert found.differences == ()
    assert found.layers == len(first.layers)


def check_public(name: str) -> None:
    """No difference between what is trained and either file, whichever comes first."""
    import torch

    torch.manual_seed(0)
    (family,) = (each for each in PUBLIC if each.name == name)
    model = lower(quantize(family.build().eval(), Scheme(), family.samples(2)), family.shape)
    written = onnx_exporter.export(model, ExportOptions()).content
    tflite = tflite_exporter.export(model, ExportOptions(allow_float=True)).content
    forms = [
        onnx_view.view(model, "net"),
        onnx_view.view(parse(written, "it"), "net.onnx"),
        tflite_view.view(tflite, "net.tflite"),
    ]
    for first in forms:
        for second in forms:
            assert diff(first, second).differences == ()


def test_convolutions_of_a_line_are_no_difference() -> None:
    check_public("TCN")


def test_products_of_two_activations_are_no_layers() -> None:
    from dataclasses import replace

    model = as_view(network(), tflite=False)
    product = LintLayer("scores", "MatMul", source=model.layers[0].source)
    assert diff(model, replace(model, layers=(*model.layers, product))).differences == ()


def test_weights_that_lost_their_axes_are_another_shape() -> None:
    from dataclasses import replace

    model = as_view(network(), tflite=False)
    last = model.layers[-1]
    flat = replace(last, weights=last.weights.reshape(-1))
    found = diff(model, replace(model, layers=(*model.layers[:-1], flat))).differences
    assert (found[0].kind, found[0].where) == ("shape", last.node)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [each.name for each in PUBLIC if each.source == "torch" and each.name != "FastestDet"]
)
def test_no_public_family_has_a_difference(name: str) -> None:
    check_public(name)
