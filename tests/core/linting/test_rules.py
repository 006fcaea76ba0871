"""Each rule finds the fault that is planted, with its node, channels and number, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.models.lint_models import (
    as_tflite,
    found,
    network,
    of,
    with_constants,
    with_tensors,
)
from tests.support.models.qdq_models import Graph, Grid

from edgeq.errors import channels_named
from edgeq.linting import RULES, SEVERITIES, findings_in, onnx_view
from edgeq.targets.devices import devices

if TYPE_CHECKING:
    import onnx

    from edgeq.linting import Finding

MOST = 2**31 - 1
PER_TENSOR = network(per_channel=False)
CLEAN = network()
WEIGHT, BIAS = "c.weight_quantized", "c.bias_quantized"


def planted(rule: str, **values: Any) -> list[Finding]:
    """What a rule finds after constants were changed: an array, or a function of the old one."""

    def fault(constants: dict[str, np.ndarray]) -> None:
        for name, value in values.items():
            old = constants[name]
            constants[name] = np.asarray(value(old) if callable(value) else value, old.dtype)

    return of(rule, found(with_constants(CLEAN, fault)))


def zeroed(channel: int) -> Any:
    def change(weights: np.ndarray) -> np.ndarray:
        weights[channel] = 0
        return weights

    return change


def at(channel: int, value: float) -> Any:
    def change(old: np.ndarray) -> np.ndarray:
        old[channel] = value
        return old

    return change


@pytest.mark.parametrize("model", [CLEAN, PER_TENSOR, as_tflite(CLEAN), as_tflite(PER_TENSOR)])
def test_a_clean_file_has_no_finding_but_that_it_does_not_say_its_preprocessing(
    model: onnx.ModelProto | bytes,
) -> None:
    assert [finding.rule for finding in found(model)] == ["no-preprocessing"]


def test_every_rule_is_tested_here() -> None:
    tested = set(globals()) & {f"test_{name.replace('-', '_')}" for name in RULES.names()}
    assert tested == {f"test_{name.replace('-', '_')}" for name in RULES.names()}
    assert {RULES.load(name).severity for name in RULES.names()} == set(SEVERITIES)


def test_dead_channel() -> None:
    (finding,) = planted("dead-channel", **{WEIGHT: zeroed(3)})
    assert (finding.node, finding.channels, finding.number) == ("c_sum/Conv", (3,), 1)
    assert (finding.severity, finding.unit) == ("warning", "channels")
    assert finding.message == "channel 3 of 40: all weights are zero"


def test_dead_channel_whose_weights_are_next_to_nothing() -> None:
    tiny = {"c.weight_scale": at(5, 5.4e-13), "c.bias_scale": at(5, 5.4e-13 * 0.02)}
    (finding,) = planted("dead-channel", **tiny)
    assert (finding.channels, finding.severity) == ((5,), "warning")
    assert "at most" in finding.message
    step = planted("dead-channel", **{"c.weight_scale": at(5, 2e-6), "c.bias_scale": at(5, 4e-8)})
    assert [each.severity for each in step] == ["note"]


def test_bias_limit() -> None:
    (finding,) = planted("bias-limit", **{BIAS: at(7, -MOST - 1)})
    assert (finding.node, finding.channels, finding.severity) == ("c_sum/Conv", (7,), "error")
    assert planted("bias-limit", **{BIAS: at(7, MOST)})[0].channels == (7,)
    assert planted("bias-limit", **{BIAS: at(7, MOST - 1)}) == []


def test_accumulator_overflow() -> None:
    def weights(old: np.ndarray) -> np.ndarray:
        old[:] = 1
        old[0, 0, 0, 0] = -2
        return old

    # the bound is exact: 26 weights of 1 and one of -2 on inputs from -114 to 141
    most, smallest = 26 * 141 + 2 * 114, -26 * 114 - 2 * 141
    for bias, bad in ((MOST - most, False), (MOST - most + 1, True)):
        findings = planted("accumulator-overflow", **{WEIGHT: weights, BIAS: at(0, bias)})
        assert [each.number for each in findings] == ([MOST + 1] if bad else [])
    for bias, bad in ((-MOST - 1 - smallest, False), (-MOST - 2 - smallest, True)):
        findings = planted("accumulator-overflow", **{WEIGHT: weights, BIAS: at(0, bias)})
        assert [each.number for each in findings] == ([-MOST - 2] if bad else [])


def test_bias_scale() -> None:
    (finding,) = planted("bias-scale", **{"c.bias_scale": lambda old: old * 1.01})
    assert (finding.node, finding.severity) == ("c_sum/Conv", "error")
    assert finding.number == pytest.approx(0.01, rel=1e-3)
    assert finding.channels == tuple(range(40))
    rounded = planted("bias-scale", **{"c.bias_scale": lambda old: np.nextafter(old, 1)})
    assert rounded == []


def test_biases_with_another_number_of_scales() -> None:
    def fault(tensors: dict[str, Any], _: Any) -> None:
        grid = tensors["d.bias"].quantization
        grid.scale, grid.zeroPoint = np.full(3, 0.1, np.float32), np.zeros(3, np.int64)

    (finding,) = of("bias-scale", found(with_tensors(as_tflite(CLEAN), fault)))
    assert finding.message == "its bias has 3 scales for 4 channels"


def test_grid_mismatch() -> None:
    model = with_constants(
        CLEAN, lambda constants: constants.update(other=constants["c_scale"] * np.float32(2))
    )
    reader = next(node for node in model.graph.node if node.output[0] == "c_dequantized")
    reader.input[1] = "other"
    (finding,) = of("grid-mismatch", found(model))
    assert (finding.severity, finding.number) == ("error", 2)
    assert "written on scale 0.0500000007" in finding.message
    assert "read on scale 0.100000001" in finding.message


def test_broken_scale() -> None:
    for value in (0, -1, np.nan, np.inf):
        findings = planted("broken-scale", c_scale=value)
        assert findings
        assert {each.severity for each in findings} == {"error"}


def test_float_in_fact() -> None:
    graph = Graph()
    x = graph.input("x", [1, 3, 8, 8], Grid(0.02, 114))
    graph.weighted("Conv", x, "c", (8, 3, 3, 3), Grid(0.05), kernel_shape=[3, 3])
    weights = graph.constant("w", np.ones((2, 8, 1, 1), np.float32))
    graph.node("Conv", ["c_dequantized", weights], "y", kernel_shape=[1, 1])
    (finding,) = of("float-in-fact", found(graph.proto("y")))
    assert (finding.node, finding.severity, finding.number) == ("y/Conv", "warning", 16)
    assert finding.message == "Conv computes in float: its weights are not quantised"


def test_float_in_fact_by_an_addition_before_the_quantiser() -> None:
    for other, in_float in (("x_dequantized", True), ("b", False)):
        graph = Graph()
        x = graph.input("x", [1, 3, 8, 8], Grid(0.02, 114))
        graph.stored("w", np.ones((3, 3, 1, 1), np.int8), 0.1)
        graph.stored("b", np.ones((3, 1, 1), np.int8), 0.1)
        graph.node("Conv", [x, "w"], "c", kernel_shape=[1, 1])
        graph.node("Add", ["c", other], "y")
        graph.quantize("y", Grid(0.05))
        told = [each.message for each in of("float-in-fact", found(graph.proto("y_dequantized")))]
        whole = "the only layer computes in float, though parts are quantised: "
        assert told == ([f"{whole}its result is not quantised"] if in_float else [])


def test_float_in_fact_by_name() -> None:
    graph = Graph()
    weights = graph.constant("w", np.ones((2, 3, 1, 1), np.float32))
    graph.input("x", [1, 3, 8, 8], Grid(0.02))
    graph.nodes.clear()
    graph.node("Conv", ["x", weights], "y", kernel_shape=[1, 1])
    model = graph.proto("y")
    (note,) = of("float-in-fact", found(model, "net_float"))
    assert (note.node, note.severity) == ("", "note")
    (finding,) = of("float-in-fact", found(model, "net_int8"))
    assert (finding.node, finding.severity) == ("", "error")


def test_per_channel_slow() -> None:
    for model, slow in ((CLEAN, True), (PER_TENSOR, False)):
        view = onnx_view.view(ir.from_proto(model), "net.onnx")
        for device in devices():
            findings = of("per-channel-slow", list(findings_in(replace(view, device=device))))
            expected = slow and device.granularity == "per-tensor"
            assert [each.number for each in findings] == ([device.slower] if expected else [])


def test_range_unused() -> None:
    (finding,) = planted("range-unused", c_zero_point=128)
    assert (finding.node, finding.unit) == ("c", "bits")
    assert finding.number == pytest.approx(1, abs=0.01)
    assert planted("range-unused", c_zero_point=240) == []  # 4 bits at the end of a byte


def test_range_unused_by_channels_that_share_a_scale() -> None:
    def fault(constants: dict[str, np.ndarray]) -> None:
        constants[WEIGHT][:30] //= 16

    (finding,) = of("range-unused", found(with_constants(PER_TENSOR, fault)))
    assert finding.channels == tuple(range(30))
    assert finding.number == pytest.approx(4, abs=0.5)


def test_range_clipped() -> None:
    def clipped(weights: np.ndarray) -> np.ndarray:
        return np.clip(weights.astype(np.int64) * 4, -127, 127)

    (finding,) = planted("range-clipped", **{"d.weight_quantized": clipped})
    assert (finding.node, finding.unit) == ("d/Conv", "of the weights")
    assert (finding.number or 0) > 0.3


def test_saturating_pairs() -> None:
    def pair(weights: np.ndarray) -> np.ndarray:
        weights[2, :2, 0, 0] = 127
        return weights

    (finding,) = planted("saturating-pairs", **{"d.weight_quantized": pair})
    assert (finding.node, finding.severity, finding.number) == ("d/Conv", "note", 1)
    assert "64,770" in finding.message


def test_random_calibration() -> None:
    (finding,) = planted("random-calibration", x_scale=0.035, x_zero_point=128)
    assert finding.node == "x"
    assert "noise" in finding.message
    assert planted("random-calibration", x_scale=1 / 255, x_zero_point=0) == []


def test_random_calibration_by_placeholders() -> None:
    def model(scales: list[float]) -> onnx.ModelProto:
        graph = Graph()
        last = graph.input("x", [1, 8, 8, 8], Grid(0.02))
        for i, scale in enumerate(scales):
            last = graph.weighted(
                "Conv", last, f"c{i}", (8, 8, 1, 1), Grid(scale, 128), kernel_shape=[1, 1]
            )
        return graph.proto(last)

    (finding,) = of("random-calibration", found(model([0.047] * 5)))
    assert finding.number == 5
    assert of("random-calibration", found(model([0.047, 0.05, 0.06, 0.047, 0.03]))) == []
    assert of("random-calibration", found(model([6 / 255] * 5))) == []
    assert of("random-calibration", found(model([2.0**-4] * 5))) == []


def test_no_preprocessing() -> None:
    model = with_constants(CLEAN, lambda _: None)
    model.metadata_props.add(key="edgeq_preprocessing", value="{}")
    assert found(model) == []
    assert found(as_tflite(model)) == []


def test_faults_of_tflite_files_are_the_same() -> None:
    clean = as_tflite(CLEAN)

    def fault(tensors: dict[str, Any], model: Any) -> None:
        weights, bias = tensors["c.weight"], tensors["c.bias"]
        stored = np.array(model.buffers[weights.buffer].data, np.uint8).reshape(40, -1)
        stored[3] = 0
        model.buffers[weights.buffer].data = stored.reshape(-1)
        numbers = np.array(model.buffers[bias.buffer].data, np.uint8).view(np.int32)
        numbers[7] = -MOST - 1
        model.buffers[bias.buffer].data = numbers.view(np.uint8)
        scales = np.array(tensors["d.bias"].quantization.scale, np.float32)
        tensors["d.bias"].quantization.scale = scales * np.float32(1.5)

    findings = found(with_tensors(clean, fault))
    assert {(each.rule, each.channels) for each in findings if each.severity != "note"} == {
        ("dead-channel", (3,)),
        ("bias-limit", (7,)),
        ("accumulator-overflow", (7,)),
        ("bias-scale", (0, 1, 2, 3)),
    }


def test_a_tflite_layer_that_holds_nan_answers_nothing() -> None:
    def fault(tensors: dict[str, Any], model: Any) -> None:
        bias = tensors["c.bias"]
        values = np.zeros(len(model.buffers[bias.buffer].data) // 4, np.float32)
        values[3] = np.nan
        bias.type, bias.quantization = 0, None
        model.buffers[bias.buffer].data = values.view(np.uint8)

    (finding,) = of("broken-scale", found(with_tensors(as_tflite(CLEAN), fault)))
    assert finding.message == "its constant 'c.bias' holds NaN or infinity"


def test_tflite_operators_that_move_integers_need_one_grid() -> None:
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], Grid(0.02, 3))
    graph.op("MaxPool", [x], "y", Grid(0.02, 3), kernel_shape=[2, 2], strides=[2, 2])
    clean = as_tflite(graph.proto("y_dequantized"))
    assert of("grid-mismatch", found(clean)) == []

    def fault(tensors: dict[str, Any], _: Any) -> None:
        tensors["y"].quantization.scale = np.array([0.04], np.float32)

    (finding,) = of("grid-mismatch", found(with_tensors(clean, fault)))
    assert finding.number == 2


def test_channels_are_named_and_the_rest_counted() -> None:
    assert channels_named((4,)) == "channel 4"
    assert channels_named(tuple(range(8))) == "channels 0, 1, 2, 3, 4, 5 and 2 more"
