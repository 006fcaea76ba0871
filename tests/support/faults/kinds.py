"""Kinds of faults by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.support.faults.activations import (
    activation_scale,
    activation_zero,
    another_activation,
    averaged_maxima,
    clipped_integers,
    negated_input,
    no_activation,
    other_dilation,
    other_pads,
    quantized_again,
    read_otherwise,
    sums_become_differences,
    written_otherwise,
)
from tests.support.faults.weights import (
    bias_of_a_channel,
    bias_scale,
    folded_otherwise,
    on_bias,
    on_channel,
    on_weights,
    one_channel_scale,
    one_weight,
    quarter,
    swap,
    swapped_outputs,
    weight_scale,
    weight_zero,
)
from tests.support.faults.wiring import (
    a_channel_twice,
    an_input_less,
    bias_of_another_layer,
    doubled_input,
    inputs_in_reverse,
    leaky_activation,
    rows_for_columns,
    scale_of_another_tensor,
    scales_rolled,
    signed_for_unsigned,
    sum_without_shortcut,
    weights_of_another_layer,
)

if TYPE_CHECKING:
    from tests.support.faults.planted import Plant

KINDS: dict[str, Plant] = {
    "weight scale x1.03": weight_scale(1.03),
    "weight scale x0.9": weight_scale(0.9),
    "weight scale x2": weight_scale(2.0),
    "scale of a channel x1.5": one_channel_scale,
    "a weight off by 1": one_weight(1),
    "a weight off by 40": one_weight(40),
    "a weight's sign bit": one_weight(128),
    "channel zeroed": on_channel(np.zeros_like),
    "channel negated": on_channel(lambda a: np.clip(-a.astype(int), -128, 127).astype(a.dtype)),
    "channel off by 5": on_channel(lambda a: np.clip(a.astype(int) + 5, -128, 127)),
    "channel rolled": on_channel(lambda a: np.roll(a, 1)),
    "channel doubled": on_channel(lambda a: np.clip(2 * a.astype(int), -128, 127)),
    "all weights negated": on_weights(lambda a: np.clip(-a.astype(int), -128, 127), "conversion"),
    "all weights off by 1": on_weights(
        lambda a: np.clip(a.astype(int) + 1, -128, 127), "conversion"
    ),
    "weights of 6 bits": on_weights(quarter, "conversion"),
    "weights clipped": on_weights(lambda a: np.clip(a, -20, 20), "conversion"),
    "weights in noise": on_weights(
        lambda a: np.clip(a + np.random.default_rng(9).integers(-2, 3, a.shape), -128, 127),
        "conversion",
    ),
    "kernel transposed": on_weights(lambda a: a.swapaxes(-1, -2), "layout", images=True),
    "kernel mirrored": on_weights(lambda a: a[..., ::-1], "layout", "conversion", images=True),
    "kernel turned": on_weights(lambda a: a[..., ::-1, ::-1], "layout", "conversion", images=True),
    "kernel shifted": on_weights(lambda a: np.roll(a, 1, -1), "layout", "conversion", images=True),
    "inputs swapped": on_weights(lambda a: swap(a, 1), "layout", "conversion"),
    "inputs and outputs change places": on_weights(
        lambda a: a.swapaxes(0, 1), "layout", "conversion"
    ),
    "outputs swapped": swapped_outputs(with_bias=False),
    "outputs swapped with their biases": swapped_outputs(with_bias=True),
    "weight zero point +1": weight_zero,
    "bias of a channel +40": bias_of_a_channel,
    "bias off by 50": on_bias(lambda a: a + 50),
    "bias negated": on_bias(np.negative),
    "no bias": on_bias(np.zeros_like),
    "bias doubled": on_bias(lambda a: 2 * a + 9),
    "bias rolled": on_bias(lambda a: np.roll(a, 1), "conversion", "layout"),
    "bias scale x1.5": bias_scale,
    "BatchNorm folded otherwise": folded_otherwise,
    "activation scale x1.03": activation_scale(1.03),
    "activation scale x0.8": activation_scale(0.8),
    "activation scale x2": activation_scale(2.0),
    "zero point +1": activation_zero(1),
    "zero point +9": activation_zero(9),
    "read with zero point +1": read_otherwise(2, lambda a: a.astype(int) + 1),
    "read with zero point +20": read_otherwise(2, lambda a: a.astype(int) + 20),
    "read with scale x1.03": read_otherwise(1, lambda a: a * np.float32(1.03)),
    "written with scale x1.1": written_otherwise,
    "no activation": no_activation,
    "another activation": another_activation,
    "integers clipped": clipped_integers,
    "pads on one side": other_pads,
    "dilated": other_dilation,
    "quantised again": quantized_again,
    "input negated": negated_input,
    "sums become differences": sums_become_differences,
    "maxima averaged": averaged_maxima,
    "sum without its shortcut": sum_without_shortcut,
    "weights of another layer": weights_of_another_layer,
    "bias of another layer": bias_of_another_layer,
    "scales of channels rolled": scales_rolled,
    "scale of another tensor": scale_of_another_tensor,
    "leaky activation": leaky_activation,
    "rows for columns": rows_for_columns,
    "inputs in reverse": inputs_in_reverse,
    "an input less": an_input_less,
    "a channel twice": a_channel_twice,
    "input doubled": doubled_input,
    "signed for unsigned": signed_for_unsigned,
    "weights read as unsigned": on_weights(
        lambda a: np.where(a < 0, np.minimum(a.astype(int) + 128, 127), a), "conversion"
    ),
    "weights rounded down to 5 bits": on_weights(lambda a: (a.astype(int) >> 3) << 3, "conversion"),
    "largest weights wrapped": on_weights(
        lambda a: np.where(a.astype(int) >= a.max(), -128, a), "conversion"
    ),
    "all weights zero": on_weights(np.zeros_like, "conversion"),
    "bias of 8 bits": on_bias(lambda a: np.rint(a / 256) * 256),
    "bias of 16 bits, wrapped": on_bias(lambda a: (a.astype(np.int64) * 64 + 99).astype(np.int16)),
    "bias clipped": on_bias(lambda a: np.clip(a, -20, 20)),
    "activation scale x256/255": activation_scale(256 / 255),
    "weight scale x256/255": weight_scale(256 / 255),
}
"""Each kind by its name."""
