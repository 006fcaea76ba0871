"""XNOR-Net: a scale per filter, the published gradient, a sign that QuantizeLinear computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.checks.quantizers import activation, gradients, weight
from torch import nn

from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.quantizers.binary.xnor import SIGN_SCALE, XnorSign, XnorWeights
from edgeq.training.quantizers.max_abs import MaxAbs


class TestWeights:
    def test_the_value_is_the_sign_times_the_mean_magnitude_of_a_filter(self) -> None:
        w = weight()
        w[0, 0, 0, 0] = 0.0
        encoded = XnorWeights(axis=0).encode(w)
        torch.testing.assert_close(encoded.scale.double(), w.double().abs().mean((1, 2, 3)))
        assert torch.equal(encoded.integers, torch.where(w >= 0, 1.0, -1.0))
        assert encoded.integers[0, 0, 0, 0] == 1, "zero counts as positive"

    def test_it_is_the_best_scale(self) -> None:
        """Eq. 6: alpha is the least-squares scale of the signs."""
        w = weight()
        binary, each = XnorWeights(axis=0)(w), w.sign().flatten(1)
        best = (w.flatten(1) * each).sum(1) / each.square().sum(1)
        torch.testing.assert_close(binary.abs()[:, 0, 0, 0], best)

    def test_tied_weights_have_one_for_the_tensor(self) -> None:
        w = weight()
        assert XnorWeights(axis=None).encode(w).scale.item() == pytest.approx(
            w.abs().mean().item(), rel=1e-6
        )

    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_the_gradient_is_the_published_one(self, axis: int | None) -> None:
        """dC/dW = dC/dW~ (1 / n + alpha [|W| < 1])."""
        w = (weight(shape=(5, 4, 3, 3)) * 8).requires_grad_()
        assert (w.abs() > 1).any()
        upstream = torch.randn(w.shape, generator=torch.Generator().manual_seed(1))
        (XnorWeights(axis=axis)(w) * upstream).sum().backward()
        rest = (
            tuple(dimension for dimension in range(4) if dimension != axis)
            if axis is not None
            else (0, 1, 2, 3)
        )
        alpha = w.detach().abs().mean(rest, keepdim=True)
        n = w.numel() / alpha.numel()
        assert w.grad is not None
        torch.testing.assert_close(w.grad, upstream * (1 / n + alpha * (w.detach().abs() < 1)))

    @given(st.integers(0, 1000))
    def test_of_one_weight_it_is_the_slope_of_the_scaled_sign(self, seed: int) -> None:
        """With a straight-through sign, ``alpha(W) W``.

        The term of a weight in its own filter's alpha, times its sign's sign.
        """
        value = float(np.random.default_rng(seed).uniform(0.1, 0.9))
        w = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
        XnorWeights(axis=0)(w).sum().backward()
        assert w.grad is not None
        assert w.grad.item() == pytest.approx(1 + value, rel=1e-6), "n is 1, alpha is |W|"

    def test_without_rounding_it_is_the_real_weight(self) -> None:
        made = XnorWeights()
        made.rounding = False
        assert torch.equal(made(weight()), weight())

    def test_a_filter_of_zeros_has_a_step(self) -> None:
        assert (XnorWeights().encode(torch.zeros(2, 3, 1, 1)).scale > 0).all()


class TestCentred:
    def test_each_filter_has_no_mean_over_its_inputs_and_is_clipped(self) -> None:
        w = weight() * 20 + 1
        XnorWeights(centered=True).post_optimizer_step(w)
        assert w.abs().max() == 1
        small = weight() + 0.3
        XnorWeights(centered=True).post_optimizer_step(small)
        torch.testing.assert_close(small.mean(1), torch.zeros(6, 3, 3), atol=1e-6, rtol=0)

    def test_of_a_transposed_layer_the_inputs_are_first(self) -> None:
        small = weight() + 0.3
        XnorWeights(axis=1, centered=True).post_optimizer_step(small)
        torch.testing.assert_close(small.mean(0), torch.zeros(4, 3, 3), atol=1e-6, rtol=0)

    def test_a_depthwise_filter_is_not_emptied(self) -> None:
        w = weight(shape=(6, 1, 3, 3))
        XnorWeights(centered=True).post_optimizer_step(w)
        assert torch.equal(w, weight(shape=(6, 1, 3, 3)))

    def test_as_published_nothing_happens(self) -> None:
        w = weight() * 20
        XnorWeights().post_optimizer_step(w)
        assert torch.equal(w, weight() * 20)


class TestSign:
    HALF = SIGN_SCALE / 2

    def test_the_rule_at_zero_and_near_it(self) -> None:
        x = torch.tensor(
            [
                -9.0,
                -2 * self.HALF,
                -self.HALF * 1.01,
                -self.HALF,
                -0.0,
                0.0,
                self.HALF,
                self.HALF * 1.01,
                1.0,
                9.0,
            ]
        )
        expected = [-1, -1, -1, 0, 0, 0, 0, 1, 1, 1]
        made = XnorSign()
        assert (made(x) / made.amplitude).tolist() == expected
        assert made.encode(x).integers.tolist() == expected
        params = made.quant_params()
        assert (params.quantize(x.numpy()).astype(int) - 128).tolist() == expected, (
            "QuantizeLinear says the same"
        )

    def test_behind_a_relu_the_signs_are_0_and_1(self) -> None:
        made = XnorSign(signed=False)
        assert (made(torch.tensor([0.0, 0.3, 7.0])) / made.amplitude).tolist() == [0, 1, 1]
        params = made.quant_params()
        assert (int(params.zero_point), params.qmin, params.qmax) == (0, 0, 1)

    def test_beyond_the_dead_zone_it_is_the_sign(self) -> None:
        x = activation()
        x = x[x.abs() > self.HALF]
        assert torch.equal(XnorSign()(x) / SIGN_SCALE, x.sign())

    def test_the_grid_is_narrow_and_its_step_a_power_of_two(self) -> None:
        params = XnorSign().quant_params()
        assert (int(params.zero_point), params.qmin, params.qmax) == (128, 127, 129)
        assert math.frexp(float(params.scale))[0] == 0.5

    def test_gradients_pass_within_one(self) -> None:
        made = XnorSign()
        by_x, _ = gradients(made, None, [-1.5, -1.0, -0.99, 0.0, 0.5, 1.0, 2.0])
        assert (by_x / made.amplitude).tolist() == [0, 0, 1, 1, 1, 0, 0]
        behind_relu, _ = gradients(XnorSign(signed=False), None, [-0.5, 0.0, 0.5, 1.0])
        assert (behind_relu / made.amplitude).tolist() == [0, 0, 1, 0]

    def test_a_layer_computes_with_minus_1_0_and_1(self) -> None:
        """In training, in evaluation and as exported.

        With BatchNorm, whose epsilon would swallow the amplitude else.
        """
        torch.manual_seed(0)
        x = activation(shape=(8, 4, 6, 6))
        layer, bn, made = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), XnorSign()
        quantized = QuantLayer(layer, bn, WeightQuantizer(XnorWeights(), normalize=False))
        quantized.read_from(made)
        signs = torch.where(x.abs() > self.HALF, x.sign(), 0.0)
        published = nn.BatchNorm2d(6)(nn.functional.conv2d(signs, XnorWeights()(layer.weight)))
        torch.testing.assert_close(quantized(made(x)), published)
        mean_, var = bn.running_mean, bn.running_var
        assert mean_ is not None
        assert var is not None
        assert var.min() > 0.01, "statistics are those of signs"
        quantized.eval()
        y = nn.functional.conv2d(signs, XnorWeights()(layer.weight))
        expected = (y - mean_.reshape(-1, 1, 1)) / (var + bn.eps).sqrt().reshape(-1, 1, 1)
        stored = quantized.integer_weights()
        assert stored.bias_params is not None
        half_a_bias_step = torch.from_numpy(stored.bias_params.scale).reshape(-1, 1, 1) / 2
        assert ((quantized(made(x)) - expected).abs() <= half_a_bias_step + 1e-5).all()
        assert set(np.unique(stored.weight)) <= {-1, 1}
        assert stored.weight_params.axis == 0

    def test_a_layer_without_batch_norm_too(self) -> None:
        x, layer, made = activation(shape=(2, 5)), nn.Linear(5, 3, bias=False), XnorSign()
        quantized = QuantLayer(layer, None, WeightQuantizer(MaxAbs(8), normalize=False))
        quantized.read_from(made)
        expected = nn.functional.linear(x.sign(), MaxAbs(8)(layer.weight))
        for mode in (True, False):
            torch.testing.assert_close(quantized.train(mode)(made(x)), expected)
