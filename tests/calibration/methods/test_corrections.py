"""Corrections of means, deviations and scales: each does what its formula says, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.methods import METHODS
from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
from edgeq.calibration.methods.parts.moments import moments
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import CANONICAL

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build

CORRECTIONS = ["norm-tuning", "affine-correction", "output-scale", "analytic-bias-correction"]


def net(build: Build) -> ir.Model:
    """Four layers, each with a BatchNorm that tells how its channels are distributed."""
    random = np.random.default_rng(3)
    constants: dict[str, NDArray[Any]] = {"low": np.array(0, "f4"), "high": np.array(1.5, "f4")}
    nodes, value = [], "x"
    layers = [(8, 3, 1, "Relu"), (8, 1, 8, "Clip"), (6, 4, 2, "Relu"), (5, 6, 1, "Identity")]
    for index, (out, inputs, group, behind) in enumerate(layers):
        weight = random.normal(size=(out, inputs, 3, 3)) / np.sqrt(9 * inputs)
        constants |= {
            f"w{index}": weight.astype("f4"),
            f"g{index}": random.uniform(0.5, 1.5, out).astype("f4"),
            f"b{index}": random.normal(size=out).astype("f4"),
            f"m{index}": np.zeros(out, "f4"),
            f"v{index}": np.ones(out, "f4"),
        }
        norm = [f"c{index}", *(f"{each}{index}" for each in "gbmv")]
        made = "y" if index == len(layers) - 1 else f"r{index}"
        bounds = ["low", "high"] if behind == "Clip" else []
        nodes += [
            helper.make_node("Conv", [value, f"w{index}"], [f"c{index}"], f"l{index}", group=group),
            helper.make_node("BatchNormalization", norm, [f"n{index}"]),
            helper.make_node(behind, [f"n{index}", *bounds], [made]),
        ]
        value = made
    return build(nodes, constants, ("n", 3, 11, 11))


def samples() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(48, 3, 11, 11)).astype(np.float32)


@pytest.fixture(scope="module")
def pairs_of() -> Any:
    """What makes the layers of a network that some methods have gone through."""

    def made(build: Build, *methods: str, **config: Any) -> LayerPairs:
        model = net(build)
        settings = CalibrationConfig(methods=methods, weight_bits=3, **config)
        quantized = quantize_onnx(model, [samples()], settings)
        to_dialect(quantized, CANONICAL)
        return LayerPairs(fold_onnx(model), quantized, [{"x": samples()}])

    return made


def test_norm_tuning_gives_each_channel_its_mean_and_deviation(build: Build, pairs_of: Any) -> None:
    for layer in pairs_of(build, "norm-tuning"):
        found = moments(layer)
        deviation = np.sqrt(found.float_variance)
        assert np.abs(found.mean - found.float_mean).max() < 0.01 * deviation.max()
        assert np.allclose(np.sqrt(found.variance), deviation, rtol=0.01)


def test_affine_correction_leaves_no_better_line(build: Build, pairs_of: Any) -> None:
    for layer in pairs_of(build, "affine-correction"):
        found = moments(layer)
        assert np.allclose(found.covariance / found.variance, 1.0, atol=0.02)
        assert np.abs(found.mean - found.float_mean).max() < 0.02


def test_affine_correction_of_one_scale_moves_the_mean_alone(build: Build, pairs_of: Any) -> None:
    plain, corrected = (
        list(pairs_of(build, *methods, per_channel=False)) for methods in ((), ("norm-tuning",))
    )
    for before, after in zip(plain, corrected, strict=True):
        assert np.array_equal(before.scale, after.scale)
        found = moments(after)
        assert np.abs(found.mean - found.float_mean).max() < 0.02


def test_no_channel_has_a_worse_scale_than_before(build: Build, pairs_of: Any) -> None:
    first, *_ = pairs_of(build)
    searched, *_ = pairs_of(build, "output-scale")
    before, after = (
        ((layer.answer - layer.target) ** 2).sum((0, 2, 3)) for layer in (first, searched)
    )
    assert (after <= before * (1 + 1e-4)).all()
    assert pairs_changed(pairs_of(build), pairs_of(build, "output-scale"))


def pairs_changed(plain: LayerPairs, changed: LayerPairs) -> bool:
    return any(
        not np.array_equal(before.scale, after.scale)
        for before, after in zip(plain, changed, strict=True)
    )


def test_the_analytic_correction_is_the_empirical_one_without_data(
    build: Build, pairs_of: Any
) -> None:
    """Of layers whose inputs are as their BatchNorm says: those of the first are random numbers."""
    plain, analytic = list(pairs_of(build)), list(pairs_of(build, "analytic-bias-correction"))
    for index in (1, 2):
        before, after = moments(plain[index]), moments(analytic[index])
        off, left = (np.abs(found.mean - found.float_mean).sum() for found in (before, after))
        assert left < 0.5 * off


def test_the_analytic_correction_says_what_no_norm_tells_of(build: Build) -> None:
    told: list[str] = []
    settings = CalibrationConfig(methods=("analytic-bias-correction",))
    quantize_onnx(net(build), [samples()], settings, tell=told.append)
    assert told[0] == "analytic-bias-correction: corrected the biases of 3 of 4 layers"


def test_methods_compose_in_their_order(build: Build, pairs_of: Any) -> None:
    assert set(CORRECTIONS) <= set(METHODS.names())
    errors = [
        float(((layer.answer - layer.target) ** 2).mean())
        for methods in ((), ("equalize", "output-scale", "gptq", "affine-correction"))
        for *_, layer in [pairs_of(build, *methods)]
    ]
    assert errors[1] < errors[0] / 2
