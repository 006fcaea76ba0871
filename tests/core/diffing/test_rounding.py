"""What rounding explains of a quantised layer, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.diffing.layers import layer_differences
from edgeq.diffing.rounding import FloatLayer, is_chosen, rounding_differences
from edgeq.linting.model import LintLayer
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.diffing.records import Difference

OUT, FAN_IN = 6, 24
SOURCE = QuantParams.of(0.04, 3, "uint8")


def pair(seed: int, *, per_channel: bool = True) -> tuple[FloatLayer, LintLayer]:
    """A float layer, and what rounding to the nearest makes of it."""
    rng = np.random.default_rng(seed)
    real = FloatLayer("conv", rng.normal(0, 1, (OUT, FAN_IN, 1, 1)), rng.normal(0, 2, OUT))
    rows = real.weights.reshape(OUT, -1)
    reach = np.abs(rows).max(1) if per_channel else np.full(OUT, np.abs(rows).max())
    scale = (reach / 127).astype(np.float32)
    grid = QuantParams.of(
        scale if per_channel else scale[0],
        np.zeros(OUT, np.int32) if per_channel else 0,
        "int8",
        axis=0 if per_channel else None,
    )
    integers = np.clip(np.rint(rows / scale[:, None].astype(np.float64)), -127, 127)
    step = 0.04 * scale.astype(np.float64)
    layer = LintLayer(
        "conv",
        "Conv",
        SOURCE,
        integers.astype(np.int64).reshape(OUT, FAN_IN, 1, 1),
        grid,
        bias=np.rint(real.bias / step).astype(np.int64),
        bias_grid=QuantParams.of(step.astype(np.float32), np.zeros(OUT, np.int32), "int32", axis=0),
    )
    return real, layer


def told(real: FloatLayer, layer: LintLayer) -> list[Difference]:
    return list(rounding_differences(real, layer, "conv", "x"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), per_channel=st.booleans())
def test_rounding_to_the_nearest_is_no_difference(seed: int, *, per_channel: bool) -> None:
    assert told(*pair(seed, per_channel=per_channel)) == []


def test_rounding_up_or_down_by_a_method_is_told_apart_from_noise() -> None:
    real, layer = pair(0)
    scale = np.atleast_1d(layer.weight_grid.scale).reshape(-1, 1, 1, 1) if layer.weight_grid else 1
    down = np.floor(real.weights / scale).astype(np.int64)
    up_or_down = down + np.random.default_rng(1).integers(0, 2, down.shape)
    assert is_chosen(real, replace(layer, weights=up_or_down))
    noise = np.random.default_rng(1).integers(-2, 3, down.shape)
    assert not is_chosen(real, weights(layer, lambda integers: integers + noise))
    assert not is_chosen(real, layer)


@pytest.mark.parametrize(
    ("change", "kind", "channels", "detail"),
    [
        (lambda layer: scaled(layer, 1.03), "weight scale", (), "x1.03"),
        (lambda layer: scaled(layer, 1.5, 2), "weight scale", (2,), "x1.5 in channel 2"),
        (lambda layer: weights(layer, lambda w: w[[1, 0, 2, 3, 4, 5]]), "channels reordered",
         (0, 1), "channels 0 and 1 change places"),
        (lambda layer: weights(layer, lambda w: w + 1), "weights", (), "moved by +1"),
        (lambda layer: weights(layer, lambda w: at(w, 4, 0)), "weights", (4,), "in channel 4"),
        (lambda layer: bias(layer, 40 * (np.arange(OUT) == 3)), "bias", (3,), "+40 steps"),
        (lambda layer: replace(layer, source=QuantParams.of(0.04 * 1.03, 3, "uint8")),
         "activation scale", (), "x1.03"),
    ],
)  # fmt: skip
def test_what_rounding_does_not_explain(
    change: Callable[[LintLayer], LintLayer], kind: str, channels: tuple[int, ...], detail: str
) -> None:
    real, layer = pair(1)
    first = told(real, change(layer))[0]
    assert (first.kind, first.channels) == (kind, channels)
    assert detail in first.detail
    assert first.where == ("x" if kind == "activation scale" else "conv")


def test_a_transposed_convolution_is_the_convolution_with_its_kernel_turned() -> None:
    kernel = np.arange(1, 1 + OUT * 2 * 9).reshape(OUT, 2, 3, 3)
    layer = replace(pair(0)[1], weights=kernel, bias=None)
    turned = replace(layer, weights=kernel[..., ::-1, ::-1], op_type="ConvTranspose")
    assert list(layer_differences(turned, layer)) == []
    assert list(layer_differences(layer, turned)) == []
    assert [each.kind for each in layer_differences(layer, weights(layer, lambda w: w + 1))]


def scaled(layer: LintLayer, factor: float, channel: int | None = None) -> LintLayer:
    assert layer.weight_grid is not None
    which = np.arange(OUT) == channel if channel is not None else np.ones(OUT, np.bool_)
    scale = layer.weight_grid.scale * np.where(which, np.float32(factor), np.float32(1))
    return replace(layer, weight_grid=replace(layer.weight_grid, scale=scale.astype(np.float32)))


def weights(layer: LintLayer, how: Callable[[np.ndarray], np.ndarray]) -> LintLayer:
    assert layer.weights is not None
    return replace(layer, weights=how(layer.weights))


def bias(layer: LintLayer, more: np.ndarray) -> LintLayer:
    assert layer.bias is not None
    return replace(layer, bias=layer.bias + more)


def at(values: np.ndarray, channel: int, value: int) -> np.ndarray:
    changed = values.copy()
    changed[channel] = value
    return changed
