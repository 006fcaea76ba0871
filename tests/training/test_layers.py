"""A quantised layer evaluates as an integer convolution with BatchNorm folded in.

Its bias is off by at most half a unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import EdgeqError, UsageError
from edgeq.network.layer_protocols import IntegerLayer
from edgeq.training.layers import BIAS_LIMIT, QuantLayer, WeightQuantizer
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.max_abs import MaxAbs

if TYPE_CHECKING:
    from collections.abc import Callable

ALPHA = 3.0


def quantizer(bits: int = 4, *, normalize: bool = True, bound: float = ALPHA) -> WeightQuantizer:
    return WeightQuantizer(
        LearnedClip(bits, signed=True, narrow_range=True, bound=bound), normalize=normalize
    )


def norm(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    """A BatchNorm as training leaves it, with scales of both signs."""
    generator = torch.Generator().manual_seed(seed)
    bn = nn.BatchNorm2d(channels)
    with torch.no_grad():
        bn.weight.copy_(torch.randn(channels, generator=generator))
        bn.bias.copy_(torch.randn(channels, generator=generator))
        assert bn.running_mean is not None
        assert bn.running_var is not None
        bn.running_mean.copy_(torch.randn(channels, generator=generator) * 5)
        bn.running_var.copy_(torch.rand(channels, generator=generator) * 20 + 0.01)
    return bn


def quantized(
    layer: nn.Module, bn: nn.BatchNorm2d | None = None, gain: float = 1.0, **options: Any
) -> QuantLayer:
    made = QuantLayer(layer, bn, quantizer(**options), gain)
    made.read_from(LearnedClip(4, signed=False, bound=6.0))
    return made.eval()


def on_grid(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Activations on the grid that the layers here are told of."""
    integers = torch.randint(0, 16, shape, generator=torch.Generator().manual_seed(seed))
    return integers.float() * (torch.tensor(6.0) / 15)


def unfolded(made: QuantLayer, x: Tensor) -> Tensor:
    """gain * bn(layer(x)) in float64 with the quantised weights as they are.

    What folding must not change.
    """
    layer: Any = made.layer
    weight = made.quantizer(layer.weight).detach().double()
    bias = None if layer.bias is None else layer.bias.detach().double()
    transposed = isinstance(made.layer, nn.ConvTranspose2d)
    if isinstance(made.layer, nn.Linear):
        y = F.linear(x.double(), weight, bias)
    elif transposed:
        y = F.conv_transpose2d(
            x.double(),
            weight,
            bias,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            dilation=layer.dilation,
        )
    else:
        y = F.conv2d(
            x.double(), weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    if made.bn is not None:
        y = made.bn.double()(y)
        made.bn.float()
    return (y * made.gain).detach()


def half_a_bias_step(made: QuantLayer) -> Tensor:
    params = made.integer_weights().bias_params
    return torch.zeros(()) if params is None else torch.from_numpy(np.array(params.scale)) / 2


def check(made: QuantLayer, x: Tensor) -> None:
    """Evaluation is within half a bias unit, and float32 error, of the unfolded layer."""
    expected = unfolded(made, x)
    bound = half_a_bias_step(made).double()
    bound = bound.reshape(1, -1, *[1] * (expected.ndim - 2)) if bound.ndim else bound
    error = (made(x).double() - expected).abs()
    assert (error <= bound + 1e-5 * (1 + expected.abs().amax())).all()
    check_integers(made, x)


def check_integers(made: QuantLayer, x: Tensor) -> None:
    """forward() computes with integer_weights() and nothing else, bit for bit."""
    stored = made.integer_weights()
    assert stored.weight.dtype == np.int8
    layer: Any = made.layer
    assert (
        np.abs(stored.weight.astype(int)).max(initial=0) <= made.quantizer.encode(layer.weight).high
    )
    weight = torch.from_numpy(stored.weight_params.dequantize(stored.weight))
    bias = None
    if stored.bias is not None and stored.bias_params is not None:
        assert stored.bias.dtype == np.int32
        bias = torch.from_numpy(stored.bias_params.dequantize(stored.bias))
    if stored.op == "Gemm":
        y = F.linear(x, weight, bias)
    else:
        y = F.conv2d(x, weight, bias, stored.stride, stored.padding, stored.dilation, stored.groups)
    assert torch.equal(y, made(x))


CONVOLUTIONS: dict[str, Callable[[], nn.Conv2d | nn.ConvTranspose2d]] = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False),
    "bias": lambda: nn.Conv2d(4, 6, 3),
    "stride": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2),
    "oblong": lambda: nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 1)),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, padding=1, bias=False),
    "transposed, full": lambda: nn.ConvTranspose2d(4, 6, 3),
    "transposed, grouped": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "transposed, depthwise": lambda: nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False),
    "transposed, dilated": lambda: nn.ConvTranspose2d(4, 6, 3, padding=1, dilation=2),
}


@pytest.mark.parametrize("gain", [1.0, -0.1, 2.5])
@pytest.mark.parametrize("with_bn", [True, False])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_folding_moves_nothing_but_the_bias_and_that_by_half_a_step(
    kind: str, with_bn: bool, gain: float
) -> None:
    torch.manual_seed(0)
    layer = CONVOLUTIONS[kind]()
    bn = norm(layer.out_channels) if with_bn else None
    check(quantized(layer, bn, gain), on_grid((2, 4, 7, 7)))


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    torch.manual_seed(0)
    made = quantized(nn.Linear(5, 3, bias=bias), bits=8, normalize=False, bound=0.5)
    check(made, on_grid((4, 5)))
    stored = made.integer_weights()
    assert stored.op == "Gemm"
    assert stored.weight_params.axis is None
    assert (stored.bias is None) == (not bias)


@given(
    st.integers(2, 8),
    st.integers(0, 10_000),
    st.floats(-3, 3).filter(lambda gain: abs(gain) > 1e-3),
)
def test_folding_for_any_width_and_gain(bits: int, seed: int, gain: float) -> None:
    torch.manual_seed(seed)
    check(
        quantized(nn.Conv2d(3, 4, 3, bias=bool(seed % 2)), norm(4, seed), gain, bits=bits),
        on_grid((1, 3, 5, 5), seed),
    )


def test_no_weight_is_quantised_again() -> None:
    """The folded integers are the trained ones, but for the sign of a channel's factor."""
    torch.manual_seed(0)
    made = quantized(nn.Conv2d(4, 6, 3), bn := norm(6), -0.1)
    trained = made.quantizer.encode(made.layer.weight).integers.detach()
    signs = -bn.weight.detach().sign().reshape(-1, 1, 1, 1)
    assert torch.equal(torch.from_numpy(made.integer_weights().weight).float(), trained * signs)
    assert set(signs.ravel().tolist()) == {-1.0, 1.0}, "both signs are tried"


def test_the_bias_scale_is_the_product_of_the_other_two() -> None:
    made = quantized(nn.Conv2d(4, 6, 3), norm(6))
    stored = made.integer_weights()
    assert stored.bias_params is not None
    source = np.float32(LearnedClip(4, signed=False, bound=6.0).scale.item())
    assert np.array_equal(stored.bias_params.scale, source * stored.weight_params.scale)
    assert stored.bias_params.scale.dtype == np.float32
    assert stored.weight_params.axis == stored.bias_params.axis == 0


def test_the_transposed_convolution_is_the_adjoint_of_the_convolution() -> None:
    """<K x, y> = <x, K^T y> with the integers that are exported for each."""
    torch.manual_seed(0)
    forward = nn.Conv2d(5, 5, 3, padding=1, bias=False)
    back = nn.ConvTranspose2d(5, 5, 3, padding=1, bias=False)
    back.weight = forward.weight
    shared = quantizer()
    stored = [QuantLayer(layer, None, shared).integer_weights() for layer in (forward, back)]
    assert np.array_equal(
        stored[1].weight, stored[0].weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    )
    assert stored[0].weight_params == stored[1].weight_params
    x, y = (
        torch.randn(1, 5, 6, 6, dtype=torch.float64),
        torch.randn(1, 5, 6, 6, dtype=torch.float64),
    )
    k, kt = (torch.from_numpy(one.weight).double() for one in stored)
    left, right = (F.conv2d(x, k, padding=1) * y).sum(), (x * F.conv2d(y, kt, padding=1)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_a_strided_transposed_layer_evaluates_what_it_exports() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(3, 5, 3, 2, 1, output_padding=1)
    weights = WeightQuantizer(MaxAbs(8, axis=1), normalize=False)
    made = QuantLayer(layer, norm(5), weights, gain=-2.0)
    source = LearnedClip(4, signed=False, bound=6.0)
    made.read_from(source)
    x = source(torch.rand(2, 3, 4, 4) * 6)
    stored = made.eval().integer_weights()
    assert stored.op == "ConvTranspose"
    assert stored.bias is not None
    assert stored.bias_params is not None
    assert stored.weight_params.axis == 1
    weight, bias = (
        torch.from_numpy(params.dequantize(integers))
        for params, integers in (
            (stored.weight_params, stored.weight),
            (stored.bias_params, stored.bias),
        )
    )
    expected = F.conv_transpose2d(x, weight, bias, 2, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-6)
    x.requires_grad_()
    made(x).sum().backward()
    assert layer.weight.grad is not None


class TestChannelsThatBatchNormSwitchesOff:
    def made(self, gamma: float, beta: float) -> QuantLayer:
        torch.manual_seed(0)
        bn = norm(6)
        with torch.no_grad():
            bn.weight[2], bn.bias[2] = gamma, beta
        return quantized(nn.Conv2d(4, 6, 3), bn)

    @pytest.mark.parametrize("gamma", [0.0, -0.0, 1e-45, 1e-38, 1e-20, 1e-9, 1e-6, -1e-9])
    @pytest.mark.parametrize("beta", [0.0, 0.7, -300.0])
    def test_the_channel_gives_its_shift_and_the_bias_fits(self, gamma: float, beta: float) -> None:
        made, x = self.made(gamma, beta), on_grid((2, 4, 7, 7))
        stored = made.integer_weights()
        assert stored.bias is not None
        assert stored.bias_params is not None
        assert np.abs(stored.bias.astype(np.int64)).max() <= BIAS_LIMIT + 1
        for scale in (stored.weight_params.scale, stored.bias_params.scale):
            assert (scale >= np.finfo(np.float32).tiny).all(), "scales are positive and normal"
        check_integers(made, x)
        expected = unfolded(made, x)[:, 2]
        assert (made(x)[:, 2] - expected).abs().max() <= 1e-4 * max(abs(beta), 1e-2)

    def test_its_neighbours_are_untouched(self) -> None:
        stored, other = (
            self.made(1e-20, 5.0).integer_weights(),
            self.made(1.0, 5.0).integer_weights(),
        )
        rest = [0, 1, 3, 4, 5]
        assert np.array_equal(stored.weight[rest], other.weight[rest])
        assert np.array_equal(stored.weight_params.scale[rest], other.weight_params.scale[rest])

    def test_a_batch_norm_without_parameters(self) -> None:
        bn = nn.BatchNorm2d(6, affine=False)
        check(quantized(nn.Conv2d(4, 6, 3), bn), on_grid((1, 4, 5, 5)))


def test_training_runs_unfolded_with_live_statistics() -> None:
    torch.manual_seed(0)
    made = quantized(nn.Conv2d(4, 6, 3), norm(6), -0.1).train()
    x = on_grid((8, 4, 7, 7))
    y = made(x)
    assert made.bn is not None
    layer: Any = made.layer
    plain = F.conv2d(x, made.quantizer(layer.weight), layer.bias)
    expected = -0.1 * F.batch_norm(plain, None, None, made.bn.weight, made.bn.bias, training=True)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_without_rounding_evaluation_is_the_clipped_float_layer() -> None:
    torch.manual_seed(0)
    made = quantized(nn.Conv2d(4, 6, 3), norm(6))
    made.quantizer.clip.rounding = False
    x = on_grid((2, 4, 7, 7))
    torch.testing.assert_close(made(x).double(), unfolded(made, x), atol=1e-4, rtol=1e-4)


def test_the_module_can_be_converted_like_any_other() -> None:
    made = quantized(nn.Conv2d(4, 6, 3), norm(6))
    layer: Any = made.double().layer
    assert layer.weight.dtype == torch.float64
    assert made.float()(on_grid((1, 4, 5, 5))).dtype == torch.float32


class TestWeightQuantizer:
    def test_normalisation_is_eq_20_over_the_whole_tensor(self) -> None:
        weight = torch.randn(6, 4, 3, 3) * 7 + 2
        prepared = quantizer().prepare(weight)
        assert prepared.mean().item() == pytest.approx(0, abs=1e-5)
        assert prepared.std().item() == pytest.approx(1, abs=1e-5)

    def test_without_it_the_weight_is_as_it_is(self) -> None:
        weight = torch.randn(6, 4)
        assert quantizer(normalize=False).prepare(weight) is weight

    def test_a_constant_weight_does_not_divide_by_zero(self) -> None:
        assert torch.equal(quantizer()(torch.full((2, 2), 5.0)), torch.zeros(2, 2))

    def test_gradients_flow_through_mean_and_deviation(self) -> None:
        weight = torch.randn(6, 4, requires_grad=True)
        (quantizer()(weight) * torch.randn(6, 4)).sum().backward()
        assert weight.grad is not None
        assert weight.grad.sum().abs() < 1e-4, (
            "a shift of all weights is taken out, so the gradient has no mean"
        )


def test_a_layer_that_reads_real_numbers_has_a_grid_of_its_own_for_the_bias() -> None:
    layer = nn.Linear(3, 4)
    made = QuantLayer(layer, None, quantizer()).integer_weights()
    assert made.bias is not None
    assert made.bias_params is not None
    assert np.abs(made.bias.astype(np.int64)).tolist() == [BIAS_LIMIT] * 4
    bias = made.bias * made.bias_params.scale
    np.testing.assert_allclose(bias, layer.bias.detach().numpy(), rtol=1e-6)


class TestErrors:
    @pytest.mark.parametrize(
        ("layer", "what"),
        [
            (nn.Conv1d(1, 1, 1), "Conv1d"),
            (nn.Conv2d(1, 1, 3, padding="same"), "padding"),
            (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "not of zeros"),
        ],
    )
    def test_layers_that_have_no_integer_form(self, layer: nn.Module, what: str) -> None:
        with pytest.raises(UsageError, match=what):
            QuantLayer(layer, None, quantizer())

    def test_a_batch_norm_without_statistics_is_refused_before_training(self) -> None:
        with pytest.raises(UsageError, match="running statistics"):
            QuantLayer(
                nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), quantizer()
            )

    def test_no_integers_while_annealing(self) -> None:
        made = quantized(nn.Linear(2, 2))
        made.quantizer.clip.bits = 9
        with pytest.raises(EdgeqError, match="above 8 bits"):
            made.integer_weights()


def test_it_answers_an_exporters_questions() -> None:
    assert isinstance(quantized(nn.Linear(2, 2)), IntegerLayer)
