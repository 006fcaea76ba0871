"""Masks of attention: what they leave out stays out, and the scores keep their grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

Build = Callable[..., ir.Model]
node = helper.make_node
TOKENS, LEAST_DB = 6, 25.0
KEPT = np.tril(np.ones((TOKENS, TOKENS), bool))
FILLS = {"infinity": -np.inf, "-1e9": -1e9, "half precision": -65504.0, "float32": -3.4e38}
MODERATE = {"-1e4": -1e4, "-1e3": -1e3, "-100": -100.0}


def attention(build: Build, masks: Sequence[onnx.NodeProto], **constants: Any) -> ir.Model:
    """Scores of a layer, masked, and the mean of what they choose."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (TOKENS, 4)).astype(np.float32)
    return build(
        [
            node("MatMul", ["x", "w"], ["tokens"]),
            node("Transpose", ["tokens"], ["turned"], perm=[0, 2, 1]),
            node("MatMul", ["tokens", "turned"], ["scores"]),
            *masks,
            node("Softmax", ["masked"], ["shares"], axis=-1),
            node("MatMul", ["shares", "tokens"], ["y"]),
        ],
        {"w": weight, **constants},
        [1, TOKENS, TOKENS],
    )


def added(fill: float) -> np.ndarray[Any, Any]:
    return np.where(KEPT, 0, fill).astype(np.float32)


def check(model: ir.Model) -> list[str]:
    rng = np.random.default_rng(1)
    samples = [rng.normal(0, 1, (1, TOKENS, TOKENS)).astype(np.float32) for _ in range(4)]
    told: list[str] = []
    made = quantize_onnx(model, samples, tell=told.append)
    (sqnr_db,) = (float(line.split(": ")[1].split()[0]) for line in told if "SQNR" in line)
    assert sqnr_db > LEAST_DB
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    verify_arrays(made, exported, samples[:1]).require()
    return [line for line in told if line.startswith("mask")]


@pytest.mark.parametrize("fill", (FILLS | MODERATE).values(), ids=FILLS | MODERATE)
def test_a_mask_that_is_added(fill: float, build: Build) -> None:
    masks = [node("Add", ["scores", "mask"], ["masked"])]
    (told,) = check(attention(build, masks, mask=added(fill)))
    assert "'masked': leaves out with -" in told


@pytest.mark.parametrize("fill", (FILLS | MODERATE).values(), ids=FILLS | MODERATE)
def test_a_mask_that_chooses(fill: float, build: Build) -> None:
    masks = [node("Where", ["kept", "scores", "fill"], ["masked"])]
    assert check(attention(build, masks, kept=KEPT, fill=np.float32(fill)))


def test_a_moderate_mask_over_a_whole_row_is_kept(build: Build) -> None:
    """Equal numbers, however small, leave each softmax as it was."""
    masks = [node("Add", ["scores", "mask"], ["masked"])]
    mask = added(-500.0)
    mask[2] = -500
    told: list[str] = []
    samples = [np.random.default_rng(1).normal(0, 1, (1, TOKENS, TOKENS)).astype(np.float32)]
    quantize_onnx(attention(build, masks, mask=mask), samples, tell=told.append)
    assert not [line for line in told if line.startswith("mask")]


def test_biases_of_positions_are_no_mask(build: Build) -> None:
    """Their steps are smaller than what scores differ by, so nothing lies behind a gap."""
    masks = [node("Add", ["scores", "mask"], ["masked"])]
    slope = -4 * np.abs(np.subtract.outer(np.arange(TOKENS), np.arange(TOKENS)))
    assert not check(attention(build, masks, mask=slope.astype(np.float32)))


@pytest.mark.parametrize("fill", [-1e4, -65504.0, -3.4e38])
def test_a_mask_that_is_computed_from_what_is_kept(fill: float, build: Build) -> None:
    """As language models do: (1 - kept) times a factor, for scores of two layers."""
    rng = np.random.default_rng(0)
    model = build(
        [
            node("MatMul", ["x", "w"], ["tokens"]),
            node("Transpose", ["tokens"], ["turned"], perm=[0, 2, 1]),
            node("MatMul", ["tokens", "turned"], ["scores"]),
            node("MatMul", ["tokens", "turned"], ["others"]),
            node("Sub", ["one", "kept"], ["left_out"]),
            node("Mul", ["left_out", "factor"], ["mask"]),
            node("Add", ["scores", "mask"], ["masked"]),
            node("Add", ["mask", "others"], ["also_masked"]),
            node("Softmax", ["masked"], ["shares"], axis=-1),
            node("Softmax", ["also_masked"], ["other_shares"], axis=-1),
            node("Sub", ["shares", "half"], ["y"]),
            node("Mul", ["other_shares", "half"], ["z"]),
        ],
        {
            "w": rng.normal(0, 1, (TOKENS, 4)).astype(np.float32),
            "one": np.float32(1),
            "half": np.float32(0.5),
            "factor": np.float32(fill),
        },
        [1, TOKENS, TOKENS],
        inputs=("x", "kept"),
        outputs=("y", "z"),
    )
    samples = [
        {
            "x": rng.normal(0, 1, (1, TOKENS, TOKENS)).astype(np.float32),
            "kept": kept.astype(np.float32)[None],
        }
        for kept in (KEPT, np.ones_like(KEPT), KEPT)
    ]
    told: list[str] = []
    made = quantize_onnx(model, samples, tell=told.append)
    assert [line.split("'")[1] for line in told if line.startswith("mask")] == [
        "masked",
        "also_masked",
    ]
    found = [float(line.split(": ")[1].split()[0]) for line in told if "SQNR" in line]
    assert min(found) > LEAST_DB
    assert exporter.export(made, ExportOptions()).parity.different == ()


def test_masks_after_each_other(build: Build) -> None:
    masks = [
        node("Where", ["kept", "scores", "fill"], ["first"]),
        node("Add", ["first", "mask"], ["masked"]),
    ]
    model = attention(build, masks, kept=KEPT, fill=np.float32(-1e9), mask=added(-np.inf))
    assert len(check(model)) == 2


@given(st.floats(0.1, 30.0), st.floats(-5.0, 5.0))
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_scores_of_any_size_and_biases_beside_the_mask(
    build: Build, size: float, bias: float
) -> None:
    masks = [
        node("Mul", ["scores", "size"], ["sized"]),
        node("Add", ["sized", "mask"], ["masked"]),
    ]
    mask = np.where(KEPT, bias, -1e9).astype(np.float32)
    assert check(attention(build, masks, size=np.float32(size / 10), mask=mask))


def test_a_large_number_elsewhere_is_no_mask(build: Build) -> None:
    model = build(
        [node("MatMul", ["x", "w"], ["t"]), node("Add", ["t", "far"], ["y"])],
        {"w": np.eye(TOKENS, dtype=np.float32), "far": added(-1e9)},
        [1, TOKENS, TOKENS],
    )
    told: list[str] = []
    quantize_onnx(model, [np.ones((1, TOKENS, TOKENS), np.float32)], tell=told.append)
    assert not [line for line in told if line.startswith("mask")]
