"""Methods beyond ranges: the float function stays, integers get better and never worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgeq.calibration._nodes import constant
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.methods.adaround import AdaRound
from edgeq.calibration.methods.equalize import CrossLayerEqualization
from edgeq.calibration.methods.gptq import GPTQ, descend, in_turn
from edgeq.calibration.methods.parts.correlation import correlation
from edgeq.calibration.methods.parts.layer_function import layer_function
from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
from edgeq.calibration.methods.parts.onward import Onward
from edgeq.calibration.methods.parts.quantized_layer import StoredConstant
from edgeq.calibration.methods.parts.rounding import channel_errors, products_wanted
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.errors import UsageError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import CANONICAL

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


def net(build: Build, seed: int = 0, *, relu: str = "Relu", spread: float = 1.0) -> ir.Model:
    """Two convolutions with a depthwise one between them, pooling and a dense layer.

    ``spread`` tells how unequal the ranges of channels are, at the same function.
    """
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> NDArray[np.float64]:
        return np.asarray(random.normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float64)

    def bias(count: int) -> NDArray[np.float32]:
        return (random.normal(size=count) * 0.3).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "one", pads=[1, 1, 1, 1]),
        helper.make_node(relu, ["c1"], ["r1"]),
        helper.make_node(
            "Conv", ["r1", "w2", "b2"], ["c2"], "two", pads=[0, 1, 1, 0], strides=[2, 1], group=8
        ),
        helper.make_node(relu, ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "three"),
        helper.make_node(relu, ["c3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], "four", transB=1),
    ]
    up = np.exp(spread * random.normal(size=(8, 1, 1, 1)))
    down = np.exp(spread * random.normal(size=(8, 1, 1, 1)))
    constants: dict[str, NDArray[np.floating]] = {
        "w1": weight(8, 3, 3, 3) * up,
        "b1": bias(8) * up.reshape(-1),
        "w2": weight(8, 1, 2, 2) / up * down,
        "b2": bias(8) * down.reshape(-1),
        "w3": weight(6, 8, 1, 1) / down.reshape(1, -1, 1, 1),
        "b3": bias(6),
        "w4": weight(5, 6),
        "b4": bias(5),
    }
    given = {name: array.astype(np.float32) for name, array in constants.items()}
    return build(nodes, given, ("n", 3, 8, 8))


def samples(count: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(count, 3, 8, 8)).astype(np.float32)


def answers(model: ir.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = session_of(model, exact=True)
    return np.asarray(session.run((), {"x": x})[0])


def quantized(model: ir.Model, *methods: str, **config: Any) -> ir.Model:
    return quantize_onnx(
        model, np.array_split(samples(), 4), CalibrationConfig(methods=methods, **config)
    )


def error(before: ir.Model, after: ir.Model) -> float:
    """The mean squared error of the answers to the calibration samples."""
    x = samples()
    return float(((answers(before, x) - answers(after, x)) ** 2).mean())


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    relu=st.sampled_from(["Relu", "LeakyRelu"]),
    spread=st.floats(0.0, 2.0),
)
def test_equalisation_keeps_the_float_function(
    build: Build, seed: int, relu: str, spread: float
) -> None:
    model = net(build, seed, relu=relu, spread=spread)
    scaled = fold_onnx(model)
    assert CrossLayerEqualization().apply(Draft(scaled.graph)) == "equalised 2 pairs of layers"
    before, after = answers(model, samples(4)), answers(scaled, samples(4))
    assert np.abs(before - after).max() <= 1e-5 * max(1.0, np.abs(before).max())


def test_equalisation_gives_both_sides_equal_ranges(build: Build) -> None:
    scaled = fold_onnx(net(build, spread=2.0))
    CrossLayerEqualization().apply(Draft(scaled.graph))
    weights = {
        node.name: np.asarray(constant(node.inputs[1]))
        for node in scaled.graph
        if node.op_type == "Conv"
    }
    one, two, three = (np.abs(weights[name]) for name in ("one", "two", "three"))
    assert np.allclose(one.max((1, 2, 3)), two.max((1, 2, 3)), rtol=1e-4)
    assert np.allclose(two.max((1, 2, 3)), three.max((0, 2, 3)), rtol=1e-4)


def test_equalisation_leaves_a_relu6_and_a_transposed_pair_alone(build: Build) -> None:
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, 4, 3, 3)).astype(np.float32)
    back = np.ascontiguousarray(np.flip(kernel.swapaxes(0, 1), (2, 3)))
    for between, second in (("Relu", back), ("Clip", random.normal(size=kernel.shape))):
        bounds = ["low", "high"] if between == "Clip" else []
        model = build(
            [
                helper.make_node("Conv", ["x", "k"], ["a"], "one", pads=[1] * 4),
                helper.make_node(between, ["a", *bounds], ["b"]),
                helper.make_node("Conv", ["b", "t"], ["y"], "two", pads=[1] * 4),
            ],
            {
                "k": kernel,
                "t": second.astype(np.float32),
                "low": np.float32(0),
                "high": np.float32(6),
            },
            ("n", 4, 5, 5),
        )
        folded = fold_onnx(model)
        assert CrossLayerEqualization().apply(Draft(folded.graph)) == "equalised 0 pairs of layers"


def test_equalisation_mends_layers_of_one_scale_each(build: Build) -> None:
    model = net(build, spread=2.0)
    plain, better = (quantized(model, *used, per_channel=False) for used in ((), ("equalize",)))
    assert error(model, better) < error(model, plain) / 4


def test_gptq_rounds_the_same_however_large_the_inputs_are(build: Build) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    node = helper.make_node("Conv", ["x", "w"], ["y"], "one")
    made = [
        quantize_onnx(
            build([node], weights, ("n", 3, 8, 8)),
            [samples(16) * np.float32(size)],
            CalibrationConfig(weight_bits=3, boundary_bits=3, methods=("gptq",)),
        )
        for size in (1.0, 2.0**63)  # squares of the latter are infinite in float32
    ]
    one, large = (
        StoredConstant(next(n for n in each.graph if n.op_type == "Conv").inputs[1]).integers
        for each in made
    )
    np.testing.assert_array_equal(one, large)
    plain = quantize_onnx(
        build([node], weights, ("n", 3, 8, 8)),
        [samples(16)],
        CalibrationConfig(weight_bits=3, boundary_bits=3, methods=()),
    )
    first = StoredConstant(next(n for n in plain.graph if n.op_type == "Conv").inputs[1])
    assert (first.integers != one).any()


@pytest.mark.parametrize("method", ["bias-correction", "gptq", "adaround:steps=20", "equalize"])
def test_a_file_says_its_methods_and_is_canonical(build: Build, method: str) -> None:
    told: list[str] = []
    made = quantize_onnx(
        net(build), [samples()], CalibrationConfig(methods=(method,)), tell=told.append
    )
    assert made.metadata_props["ptq_methods"] == method
    assert told[0].startswith(f"{method}: ")
    to_dialect(made, CANONICAL)


@pytest.mark.parametrize("method", [GPTQ(), AdaRound(steps=60)])
@pytest.mark.parametrize("weight_method", ["symmetric", "affine"])
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000))
def test_no_channel_ends_above_nearest_rounding(
    build: Build, method: GPTQ | AdaRound, weight_method: str, seed: int
) -> None:
    """Of one layer alone: what it reads is then what it was."""
    random = np.random.default_rng(seed)
    model = build(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], "one", pads=[1, 1, 1, 1])],
        {
            "w": random.normal(size=(6, 3, 3, 3)).astype(np.float32),
            "b": random.normal(size=6).astype(np.float32),
        },
        ("n", 3, 8, 8),
    )
    made = quantized(model, weight_bits=8, weight_method=weight_method)
    before = fold_onnx(model)
    fed = [{"x": samples()}]
    (nearest,) = LayerPairs(before, made, fed)
    first = nearest.integers.copy()
    off = ((nearest.answer - nearest.target) ** 2).sum((0, 2, 3))
    method.apply(LayerPairs(before, made, fed))
    (changed,) = LayerPairs(before, made, fed)
    now = ((changed.answer - changed.target) ** 2).sum((0, 2, 3))
    assert (now <= off * (1 + 1e-5)).all()
    assert now.sum() < off.sum()
    assert (np.abs(changed.integers - first) <= 1).all() or isinstance(method, GPTQ)
    assert changed.low <= changed.integers.min() <= changed.integers.max() <= changed.high


def test_sweeps_leave_no_weight_that_would_do_better_alone() -> None:
    """And what they leave is nearer to what is wanted than GPTQ alone, and that than nearest."""
    random = np.random.default_rng(5)
    met = random.normal(size=(2, 40, 12)) + 0.5 * random.normal(size=(2, 40, 1))
    hessians = met.swapaxes(1, 2) @ met
    weights = random.normal(scale=2.0, size=(2, 9, 12))
    limits = -4, 3

    def off(integers: NDArray[np.float64]) -> NDArray[np.float64]:
        missing = weights - integers
        return np.asarray((missing * (missing @ hessians)).sum(axis=2))

    nearest = np.clip(np.rint(weights), *limits)
    made = in_turn(weights, hessians, limits)
    alone = off(made)
    assert alone.sum() < off(nearest).sum()
    descend(made, weights, hessians, limits, sweeps=20)
    best = off(made)
    assert (best <= alone + 1e-9).all()
    assert best.sum() < alone.sum()
    for group, row, place in np.ndindex(made.shape):
        for step in (-1, 1):
            moved = made.copy()
            moved[group, row, place] += step
            if limits[0] <= moved[group, row, place] <= limits[1]:
                assert off(moved)[group, row] >= best[group, row] - 1e-9


def residual(build: Build) -> ir.Model:
    """A branch of two convolutions that is added to what it reads, and a dense layer."""
    random = np.random.default_rng(3)
    shapes = {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "w3": (6, 6, 3, 3), "w4": (4, 6)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b"], ["c1"], "stem", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b"], ["c2"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b"], ["c3"], "second", pads=[1] * 4),
        helper.make_node("Add", ["c3", "r1"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w4"], ["y"], "four", transB=1),
    ]
    constants = {
        name: (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    return build(nodes, constants | {"b": np.full(6, 0.1, np.float32)}, ("n", 3, 8, 8))


@pytest.mark.parametrize("method", ["bias-correction", "affine-correction"])
def test_what_follows_a_corrected_layer_has_its_float_mean(build: Build, method: str) -> None:
    clipped = method == "bias-correction"  # the other one makes deviations right too
    model = residual(build)
    made = quantized(model, method, weight_bits=3)
    stem, first, second = list(LayerPairs(fold_onnx(model), made, [{"x": samples()}]))[:3]
    assert second.onward.added is not None
    assert second.onward.float_added is not None
    behind = (
        (stem.answer, stem.target),
        (first.answer, first.target),
        (second.answer + second.onward.added, second.target + second.onward.float_added),
    )
    for now, wanted in behind:
        low = 0 if clipped else -np.inf
        off = (now.clip(low) - wanted.clip(low)).mean((0, 2, 3))
        assert np.abs(off).max() < 3e-3 * wanted.std()


def test_a_channel_that_a_clip_silences_keeps_its_mean() -> None:
    random = np.random.default_rng(0)
    target = random.normal(-9, 1, (50, 2)).astype(np.float32)
    target[:, 1] += 9
    noisy = target + random.normal(0.5, 1, target.shape).astype(np.float32)
    silent, heard = Onward(low=0.0).shift(noisy, target)
    assert silent == pytest.approx((target - noisy)[:, 0].mean(), abs=1e-5)
    now = (noisy[:, 1] + heard).clip(0).mean()
    assert now == pytest.approx(target[:, 1].clip(0).mean(), abs=1e-4)


def test_the_error_of_a_layer_is_a_quadratic_form_of_its_weights(build: Build) -> None:
    model = net(build)
    made = quantized(model, weight_bits=3)
    for layer in LayerPairs(fold_onnx(model), made, [{"x": samples()[:8]}]):
        function = layer_function(layer.node, layer.weight.ndim - 2)
        assert function is not None
        target = products_wanted(layer, function)
        weight = layer.integers * layer.scale
        met = correlation(layer, target)
        rows = weight.reshape(met.target.shape)
        found = float((rows * (rows @ met.hessian - 2 * met.target)).sum())
        wanted = channel_errors(layer, function, weight, target).sum()
        assert found + float((target.astype(np.float64) ** 2).sum()) == pytest.approx(wanted, 1e-3)


def test_layers_are_seen_as_the_whole_network_computes_them(build: Build) -> None:
    model = net(build)
    made, before = quantized(model, weight_bits=4), fold_onnx(model)
    layers = list(LayerPairs(before, made, [{"x": samples()[:40]}, {"x": samples()[40:]}]))
    assert [layer.name for layer in layers] == ["one", "two", "three", "four"]
    assert np.allclose(layers[-1].target, answers(model, samples()), atol=1e-5)
    assert layers[0].inputs.shape == (64, 3, 8, 8)


def test_pairs_stay_safe(build: Build) -> None:
    from edgeq.qdq.ort_x86.saturation import pair_sums
    from edgeq.qdq.reader import read_qdq

    for method in ("gptq", "adaround:steps=60"):
        made = quantized(net(build, spread=1.5), method)
        assert not any(sums.can_saturate for sums in pair_sums(read_qdq(made)))


@pytest.mark.parametrize(
    "typed",
    [
        "adaround:step=5",
        "adaround:steps=0",
        "adaround:rate=-1",
        "gptq:steps=3",
        "gptq:sweeps=-1",
        "ada",
    ],
)
def test_a_method_that_is_none_is_refused_before_anything_runs(typed: str) -> None:
    with pytest.raises(UsageError):
        CalibrationConfig(methods=(typed,))
