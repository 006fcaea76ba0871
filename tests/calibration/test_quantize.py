"""A calibrated model is canonical, runs in integers, and is close to the float model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observers.percentile import Percentile
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError, UsageError
from edgeq.exporter import EXPORTERS, ExportOptions

Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, NDArray[Any]]]
Images = NDArray[np.float32]


def quantized(
    model: ir.Model, x: Images, config: CalibrationConfig | None = None, data: str = "none"
) -> ir.Model:
    made = quantize_onnx(model, np.array_split(x, 4), config, data=data)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    return made


def sqnr_db(reference: NDArray[Any], other: NDArray[Any]) -> float:
    error = np.sum((reference.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / max(error, 1e-30)))


def integers(model: ir.Model) -> list[str]:
    """The quantised activations in graph order."""
    made = {
        str(node.inputs[0].name): node
        for node in model.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0] is not None
    }
    return [name for name in made if name not in model.graph.initializers]


def stages(model: ir.Model) -> list[tuple[list[str], str]]:
    """Each quantised tensor with the quantised tensors that it is computed from."""
    known, found = set(integers(model)), []
    for name in integers(model):
        node = next(node for node in model.graph if name in [value.name for value in node.outputs])
        sources: list[str] = []
        pending = [value for value in node.inputs if value is not None]
        while pending:
            value = pending.pop()
            if value.name in known or value.is_graph_input():
                sources.append(str(value.name))
            elif (producer := value.producer()) is not None:
                pending += [source for source in producer.inputs if source is not None]
        found.append((sorted(set(sources)), name))
    return found


def one_stage(model: ir.Model, sources: list[str], result: str) -> onnx.ModelProto:
    """The part of a model between quantised tensors, with the last one dequantised."""
    return onnx.utils.Extractor(
        onnx.shape_inference.infer_shapes(ir.to_proto(model))
    ).extract_model(sources, [result])


@pytest.mark.parametrize("observer", ["minmax", "percentile", "minmax-percentile"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_it_computes_nearly_what_the_float_model_does(
    observer: str,
    per_channel: bool,
    stable_net: ir.Model,
    images: Images,
    run: Run,
) -> None:
    made = quantized(stable_net, images, CalibrationConfig(observer, per_channel=per_channel))
    wanted = run(stable_net, images)["y"]
    for optimized in (False, True):
        assert sqnr_db(wanted, run(made, images, optimized=optimized)["y"]) > 25.0


def test_every_quantised_tensor_is_within_one_step_between_optimisation_off_and_on(
    stable_net: ir.Model, images: Images, run: Run
) -> None:
    made = quantized(stable_net, images)
    names = integers(made)
    reference = {"x": images, **run(made, images, tensors=names)}
    assert len(names) == 12
    for sources, name in stages(made):
        part = one_stage(made, sources, name).SerializeToString()
        optimized = _session(part).run([name], {source: reference[source] for source in sources})[0]
        assert optimized.dtype == np.uint8
        assert np.abs(optimized.astype(int) - reference[name]).max() <= 1, name


def _session(content: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def test_it_runs_in_integers_from_end_to_end(
    stable_net: ir.Model, images: Images, tmp_path: Any
) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(
        ir.to_proto(quantized(stable_net, images)).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    operators = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert {
        "QLinearConv",
        "QLinearConcat",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "QGemm",
    } <= operators
    assert operators.isdisjoint({"Conv", "Gemm", "Add", "Relu", "FusedConv", "AveragePool"})


def test_the_form_is_canonical(stable_net: ir.Model, images: Images) -> None:
    made = quantized(stable_net, images, data="random images")
    assert made.opset_imports[""] == 21
    assert made.metadata_props["scheme"] == "8W/8A integer"
    assert made.metadata_props["calibration"] == "random images; 64 samples; minmax"
    assert {"edgeq_version"} <= set(made.metadata_props)
    assert integers(made) == [
        f"{name}_quantized"
        for name in (
            "x",
            "u0",
            "s",
            "step_negative",
            "u1_relu",
            "half",
            "wide",
            "small",
            "last_relu",
            "mean",
            "features",
            "y",
        )
    ]
    constants = {
        name: value.const_value.numpy()
        for name, value in made.graph.initializers.items()
        if value.const_value is not None
    }
    for node in made.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert len(node.inputs) == 3
            assert all(value is not None and value.name in constants for value in node.inputs[1:])
        if node.op_type == "Conv":
            assert "kernel_shape" in node.attributes
    weight, bias = constants["block.weight_quantized"], constants["block.bias_quantized"]
    assert weight.dtype == np.int8
    assert bias.dtype == np.int32
    assert weight.min() >= -127
    product = constants["u0_scale"] * constants["block.weight_scale"]
    assert product.tobytes() == constants["block.bias_scale"].tobytes()
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert [value.name for value in made.graph.inputs] == ["x"]


def test_concatenation_and_pooling_share_one_grid(stable_net: ir.Model, images: Images) -> None:
    made = quantized(stable_net, images)
    pairs = {
        str(node.name).split("/")[0]: node
        for node in made.graph
        if node.op_type == "QuantizeLinear"
    }
    scales = [pairs[name].inputs[1] for name in ("u1_relu", "half", "wide", "small")]
    assert {value.name for value in scales if value is not None} == {"u1_relu_scale"}


def test_the_same_input_gives_the_same_file(stable_net: ir.Model, images: Images) -> None:
    first, second = (
        ir.to_proto(quantized(stable_net, images)).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


def test_narrow_activations_are_clipped_in_the_graph(
    stable_net: ir.Model, images: Images, run: Run
) -> None:
    made = quantized(stable_net, images, CalibrationConfig(weight_bits=4, act_bits=4, methods=()))
    inner = run(made, images, tensors=["u0_quantized", "s_quantized", "x_quantized"])
    assert inner["u0_quantized"].max() == inner["s_quantized"].max() == 15
    assert inner["x_quantized"].max() == 255
    assert {node.name for node in made.graph if node.op_type == "Clip"} >= {"u0/Clip", "s/Clip"}
    weights = made.graph.initializers["block.weight_quantized"].const_value
    assert weights is not None
    assert np.abs(weights.numpy()).max() == 7
    assert sqnr_db(run(stable_net, images)["y"], run(made, images)["y"]) > 5.0


def test_what_only_one_reader_wants_narrow_is_quantised_on_its_edge(
    build: Build, images: Images, run: Run
) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c1"]),
        helper.make_node("MaxPool", ["c1"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "b"], ["c2"]),
        helper.make_node("Conv", ["c2", "b"], ["y"]),
    ]
    weights = {
        "a": rng.normal(size=(3, 3, 1, 1)).astype(np.float32),
        "b": rng.normal(size=(3, 3, 1, 1)).astype(np.float32),
    }
    made = quantized(build(nodes, weights, ["n", 3, 16, 16]), images, CalibrationConfig(act_bits=4))
    values = run(made, images, tensors=["p_quantized", "p_to_c2_quantized"])
    assert values["p_quantized"].max() > 15
    assert 0 <= values["p_to_c2_quantized"].min() <= values["p_to_c2_quantized"].max() == 15


@pytest.mark.parametrize("bound", [6.0, 0.25])
def test_a_clip_is_what_its_grid_saturates_at(
    bound: float, build: Build, images: Images, run: Run
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Clip", ["c", "zero", "bound"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    constants = {
        "w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1) * 5,
        "zero": np.float32(0),
        "bound": np.float32(bound),
    }
    model = build(nodes, constants, ["n", 3, 16, 16])
    made = quantized(model, images)
    assert "Clip" not in {node.op_type for node in made.graph}
    beyond = run(made, images * 10, tensors=["r_quantized"])["r_quantized"]
    assert beyond.max() == 255
    assert np.float32(255) * _constant(made, "r_scale") == pytest.approx(bound, rel=1e-6)
    assert sqnr_db(run(model, images * 10)["y"], run(made, images * 10)["y"]) > 25.0


def test_a_clip_below_the_end_of_a_shared_grid_stays(
    build: Build, images: Images, run: Run
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Clip", ["c", "zero", "bound"], ["r"]),
        helper.make_node("Relu", ["c"], ["s"]),
        helper.make_node("Concat", ["r", "s"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "last"], ["y"]),
    ]
    constants = {
        "w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1) * 5,
        "last": np.ones((2, 6, 1, 1), np.float32),
        "zero": np.float32(0),
        "bound": np.float32(2),
    }
    model = build(nodes, constants, ["n", 3, 16, 16])
    made = quantized(model, images)
    assert "Clip" in {node.op_type for node in made.graph}
    assert sqnr_db(run(model, images)["y"], run(made, images)["y"]) > 25.0


def test_dead_tensors_and_channels_survive(build: Build, images: Images, run: Run) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "dead", "negative"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["y"]),
    ]
    weight = np.zeros((3, 3, 1, 1), np.float32)
    constants = {
        "dead": weight,
        "negative": -np.ones(3, np.float32),
        "w": weight + 1,
        "b": np.array([1e6, -0.5, 0], np.float32),
    }
    model = build(nodes, constants, ["n", 3, 16, 16])
    made = quantized(model, images)
    span = 1e6 + 0.5
    assert np.abs(run(made, images)["y"] - run(model, images)["y"]).max() <= span / 255


def test_a_fixed_batch_is_fed_as_it_wants(build: Build, images: Images) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    free, fixed = (
        quantize_onnx(build(nodes, weights, [batch, 3, 16, 16]), [images[:11]])
        for batch in ("n", 4)
    )
    for name in ("x_scale", "y_scale"):
        assert _constant(free, name) == pytest.approx(_constant(fixed, name), rel=1e-6)


def test_a_softmax_at_the_end_stays_in_float(build: Build, images: Images, run: Run) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["y"]),
    ]
    model = build(nodes, {"w": rng.normal(size=(5, 768)).astype(np.float32) / 20}, ["n", 3, 16, 16])
    made = quantized(model, images)
    assert made.graph[-1].op_type == "Softmax"
    assert "logits_quantized" in integers(made)
    assert np.abs(run(made, images)["y"] - run(model, images)["y"]).max() < 0.05


def test_progress_counts_samples(stable_net: ir.Model, images: Images) -> None:
    seen: list[int] = []
    quantize_onnx(stable_net, np.array_split(images, 5), progress=seen.append)
    assert seen == [13, 13, 13, 13, 12]


DYNAMIC = [helper.make_node("Conv", ["x", "x"], ["y"], name="attention")]
UNKNOWN = [
    helper.make_node("Conv", ["x", "w"], ["c"]),
    helper.make_node("LRN", ["c"], ["y"], name="style", size=3),
]
ROUNDED = [
    helper.make_node("Conv", ["x", "w"], ["c"]),
    helper.make_node("TopK", ["c", "k"], ["y", "places"], name="best"),
]
DONE = [
    helper.make_node("QuantizeLinear", ["x", "h"], ["q"], name="done"),
    helper.make_node("DequantizeLinear", ["q", "h"], ["y"]),
]
FLAT = [helper.make_node("Relu", ["x"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (UNKNOWN, r"LRN node 'style' has no integer form"),
        (ROUNDED, r"TopK node 'best' picks results"),
        (DYNAMIC, r"Conv node 'attention' has a weight that the graph computes"),
        (DONE, r"QuantizeLinear node 'done' is quantised already"),
        (FLAT, r"no layer with weights"),
    ],
)
def test_what_cannot_be_quantised_is_named_with_a_hint(
    nodes: list[onnx.NodeProto], message: str, build: Build, images: Images
) -> None:
    constants = {
        "w": np.ones((3, 3, 1, 1), np.float32),
        "h": np.float32(0.5),
        "one": np.ones(3, np.float32),
        "h3": np.zeros(3, np.float32),
        "k": np.array([1]),
    }
    with pytest.raises(ArtefactError, match=message) as caught:
        quantize_onnx(build(nodes, constants, [64, 3, 16, 16]), [images])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), r"shape \(2, 3, 8, 8\).*\(3, 16, 16\)"),
        (np.zeros((2, 16, 16, 3), np.float32), r"channels last.*transpose"),
        (np.zeros((2, 3, 24, 8), np.float32), r"--resize 16x16 brings images to that size"),
        (np.zeros((3, 16, 16), np.float32), r"shape \(3, 16, 16\)"),
        (np.zeros((2, 3, 16, 16), np.float64), r"float64, not float32"),
        (np.full((2, 3, 16, 16), np.nan, np.float32), r"NaN"),
        (np.zeros((0, 3, 16, 16), np.float32), r"no calibration samples"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    batch: NDArray[Any], message: str, stable_net: ir.Model
) -> None:
    with pytest.raises(ArtefactError, match=f"(?s){message}"):
        quantize_onnx(stable_net, [batch])


@pytest.mark.parametrize("bits", [0, 1, 9])
def test_widths_that_cannot_be_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"weight_bits is {bits}"):
        CalibrationConfig(weight_bits=bits)
    with pytest.raises(UsageError, match=f"act_bits is {bits}"):
        CalibrationConfig(act_bits=bits)


def _constant(model: ir.Model, name: str) -> float:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return float(tensor.numpy())


def test_every_output_keeps_its_name(build: Build, images: Images, run: Run) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("Conv", ["features", "w"], ["y"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)}
    model = build(nodes, weights, ["n", 3, 16, 16], outputs=("y", "features"))
    made, wanted = run(quantized(model, images), images), run(model, images)
    assert list(made) == ["y", "features"]
    assert all(sqnr_db(wanted[name], made[name]) > 25.0 for name in made)


def test_an_output_that_is_clipped_for_another_is_stored_before_and_behind(
    build: Build, images: Images, run: Run
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["logits"], name="conv"),
        helper.make_node("Relu", ["logits"], ["y"]),
    ]
    model = build(
        nodes, {"w": np.ones((3, 3, 1, 1), np.float32)}, ["n", 3, 16, 16], outputs=("y", "logits")
    )
    made, wanted = run(quantized(model, images), images), run(model, images)
    assert list(made) == ["y", "logits"]
    assert all(sqnr_db(wanted[name], made[name]) > 25.0 for name in made)


def test_the_tflite_exporter_takes_it_without_changing_a_number(
    stable_net: ir.Model, images: Images
) -> None:
    made = quantized(stable_net, images)
    parity = EXPORTERS.load("tflite").export(made, ExportOptions()).parity
    assert parity.different == ()
    weights = [
        value.const_value
        for name, value in made.graph.initializers.items()
        if name.endswith(".weight_quantized")
    ]
    assert parity.weights == sum(tensor.size for tensor in weights if tensor is not None)


def test_affine_weights_are_uint8_with_one_grid_a_layer(
    stable_net: ir.Model, images: Images, run: Run
) -> None:
    made = quantize_onnx(stable_net, [images], CalibrationConfig(weight_method="affine"))
    layers = {
        name.removesuffix("_quantized")
        for name in made.graph.initializers
        if name.endswith(".weight_quantized")
    }
    assert layers
    for layer in layers:
        stored, zero = (
            made.graph.initializers[f"{layer}_{end}"].const_value
            for end in ("quantized", "zero_point")
        )
        assert stored is not None
        assert zero is not None
        assert stored.dtype == zero.dtype == ir.DataType.UINT8
        assert zero.shape == ()
    answers = next(iter(run(made, images).values()))
    assert sqnr_db(next(iter(run(stable_net, images).values())), answers) > 25.0
    assert sqnr_db(answers, next(iter(run(made, images, optimized=True).values()))) > 40.0


def test_ranges_can_be_found_by_an_observer_of_ones_own(
    stable_net: ir.Model, images: Images
) -> None:
    clipped, whole = (
        quantize_onnx(stable_net, [images], CalibrationConfig(partial(Percentile, p)))
        for p in (95.0, 100.0)
    )
    steps = [
        float(scale.numpy())
        for made in (clipped, whole)
        if (scale := made.graph.initializers["x_scale"].const_value) is not None
    ]
    assert steps[0] < 0.8 * steps[1]
    assert "Percentile" in clipped.metadata_props["calibration"]
