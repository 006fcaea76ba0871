"""A convolution or fully connected layer as it is trained and as an integer runtime will store it.

One module, two forms.

In training the layer runs with fake-quantised weights and live BatchNorm statistics. In evaluation
it runs on what the exporter writes: BatchNorm folded *exactly* into the scale and sign of the
integers and into an int32 bias, so accuracy measured in PyTorch already holds every rounding that
an integer runtime makes in its constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import EdgeqError, UsageError
from edgeq.network.layer_protocols import IntegerWeights
from edgeq.quant import QuantParams
from edgeq.training.fixed_layer import FixedLayer
from edgeq.training.quantizers.parts.normalization import normalize
from edgeq.training.quantizers.parts.straight_through import straight_through

if TYPE_CHECKING:
    from edgeq.training.quantizers.parts.protocol import Encoded, GridQuantizer, Quantizer

BIAS_LIMIT = 2**30  # leaves an int32 accumulator room for the products beside the bias
# of a channel that is switched off; times any input scale it is still a normal float32
LEAST_SCALE = 2.0**-80


class WeightQuantizer(nn.Module):
    """Normalises (Eq. 20) and quantises a weight tensor; layers with tied weights share one.

    Args:
        clip: the quantiser.
        normalize: bring the tensor to zero mean and unit variance first; the scale is left to
            BatchNorm, as released.
    """

    def __init__(self, clip: Quantizer, *, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.clip = clip

    def prepare(self, weight: Tensor) -> Tensor:
        """Eq. 20, over the whole tensor, or the weight as it is."""
        return normalize(weight) if self.normalize else weight

    def forward(self, weight: Tensor) -> Tensor:
        """The fake-quantised weight, float32."""
        return self.clip(self.prepare(weight))

    def encode(self, weight: Tensor) -> Encoded:
        """The integers that evaluation computes with, and their scale."""
        return self.clip.encode(self.prepare(weight))


@dataclass(frozen=True, slots=True)
class _Folded:
    """Integers (as floats, Conv or Linear layout), their range and scale; bias and its scale."""

    weight: Tensor
    low: int
    high: int
    scale: Tensor
    bias: Tensor | None
    bias_scale: Tensor | None


class QuantLayer(nn.Module):
    """``gain * bn(inner_gain * layer(x))`` with quantised weights.

    Args:
        layer: Conv2d, ConvTranspose2d or Linear; its parameters are used, not copied.
        bn: the BatchNorm behind it, if any.
        quantizer: of the weights; shared between layers that share their weights.
        gain: a constant factor behind it, such as the ``-h`` of ``x - h K^T u``; goes into scale
            and sign.
        inner_gain: one between the layer and its BatchNorm; 1 without a BatchNorm.
    """

    def __init__(
        self,
        layer: nn.Module,
        bn: nn.BatchNorm1d | nn.BatchNorm2d | None,
        quantizer: WeightQuantizer,
        gain: float = 1.0,
        inner_gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            raise UsageError(
                f"a {type(layer).__name__} cannot be quantised",
                hint="quantise Conv2d, ConvTranspose2d and Linear layers",
            )
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and (
            isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        ):
            raise UsageError(
                "a convolution with padding given in words or not of zeros cannot be quantised",
                hint="give zero padding in numbers",
            )
        if bn is not None and bn.running_var is None:
            raise UsageError(
                "a BatchNorm without running statistics cannot be folded",
                hint="use track_running_stats=True",
            )
        if quantizer.clip.axis not in (None, output_axis(layer)):
            raise UsageError(
                "a scale for each input channel has no integer form",
                hint="quantise this layer's weights per tensor",
            )
        self.layer = layer
        self.bn = bn
        self.quantizer = quantizer
        self.gain = gain
        self.inner_gain = inner_gain
        # in a tuple, so that it is no submodule of this layer too
        self._source: tuple[GridQuantizer, ...] = ()

    def read_from(self, source: GridQuantizer) -> None:
        """Say which quantiser's grid the input lies on.

        The bias is rounded to multiples of that grid's scale times the weights'.
        """
        self._source = (source,)

    @property
    def source(self) -> GridQuantizer | None:
        """The quantiser of its input."""
        return self._source[0] if self._source else None

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output before any ReLU; NCHW or (n, features), float32."""
        return self.compute(x, *self.constants())

    def with_fixed_weights(self) -> FixedLayer:
        """The layer with weights made once: :class:`edgeq.network.layer_protocols.FixableLayer`."""
        return FixedLayer(self)

    def constants(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias that :meth:`compute` takes.

        Quantised, and in evaluation with BatchNorm folded in.
        """
        if not self._folds:
            weight = self.quantizer(self.layer.weight)
            return (weight if self._amplitude == 1.0 else weight / self._amplitude), self.layer.bias
        folded = self._fold()
        weight = folded.weight * self._per_channel(folded.scale, folded.weight)
        bias = (
            None
            if folded.bias is None or folded.bias_scale is None
            else folded.bias * folded.bias_scale
        )
        return self._with_gradients(weight, bias) if torch.is_grad_enabled() else (weight, bias)

    def _with_gradients(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What :meth:`_fold` gives, with the gradients of training.

        Evaluation fixes statistics, as PyTorch's does, and no weight.
        """
        factor, shift = self._affine()
        plain = self.quantizer(self.layer.weight) / self._amplitude
        if self._turned:
            layer: Any = self.layer
            plain = _as_convolution(plain, layer.groups)
        trained = straight_through(
            weight.detach(), plain * self._per_channel(factor.to(plain.dtype), plain)
        )
        return trained, None if bias is None else straight_through(
            bias.detach(), shift.to(bias.dtype).expand_as(bias)
        )

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output from what :meth:`constants` gives in the same mode."""
        if self._folds:
            return self._convolve(x, weight, bias, transposed=self._transposed and not self._turned)
        y = self._convolve(x, weight, bias, transposed=self._transposed)
        y = y if self.inner_gain == 1.0 else y * self.inner_gain
        y = y if self.bn is None else self.bn(y)
        return y if self.gain == 1.0 else y * self.gain

    @property
    def _folds(self) -> bool:
        return not self.training and self.quantizer.clip.rounding

    def _convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, transposed: bool
    ) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        layer: Any = self.layer
        if transposed:
            return F.conv_transpose2d(
                x,
                weight,
                bias,
                layer.stride,
                layer.padding,
                layer.output_padding,
                groups=layer.groups,
                dilation=layer.dilation,
            )
        return F.conv2d(
            x, weight, bias, layer.stride, self._padding(), layer.dilation, layer.groups
        )

    def _padding(self) -> tuple[int, int]:
        layer: Any = self.layer
        height, width = (
            d * (k - 1) - p if self._turned else p
            for k, p, d in zip(layer.kernel_size, layer.padding, layer.dilation, strict=True)
        )
        return height, width

    @property
    def _amplitude(self) -> float:
        return self._source[0].amplitude if self._source else 1.0

    @property
    def _transposed(self) -> bool:
        return isinstance(self.layer, nn.ConvTranspose2d)

    @property
    def _turned(self) -> bool:
        """Whether it is a transposed convolution that is evaluated as the ordinary one it is."""
        layer: Any = self.layer
        return self._transposed and layer.stride == (1, 1) and not any(layer.output_padding)

    @property
    def _channels(self) -> int:
        """The axis of the output channels, where they have one, in evaluation."""
        return 0 if self._turned else output_axis(self.layer) or 0

    def _per_channel(self, scale: Tensor, weight: Tensor) -> Tensor:
        """One number for each output channel, or one for all, to be multiplied with a weight."""
        shape = [1] * weight.ndim
        shape[self._channels] = -1
        return scale.reshape(shape) if scale.ndim else scale

    def _fold(self) -> _Folded:
        """BatchNorm and gain into scale, sign and bias.

        No weight is quantised again but in dead channels (see below).
        """
        encoded = self.quantizer.encode(self.layer.weight)
        integers, weight_scale = encoded.integers, encoded.scale / self._amplitude
        if self._turned:
            layer: Any = self.layer
            integers = _as_convolution(integers, layer.groups)
        if self.bn is None and self.layer.bias is None:
            sign = torch.tensor(float(np.sign(self.gain)))
            return _Folded(
                integers * sign, *_range(encoded, sign), weight_scale * abs(self.gain), None, None
            )
        factor, shift = self._affine()
        if not self._source:
            return self._with_own_bias_grid(encoded, integers, weight_scale)
        source_scale = self._source[0].scale
        scale = (weight_scale.double() * factor.abs()).float()
        # A channel that BatchNorm has all but switched off has a scale so small that its bias
        # overflows int32. Its scale is enlarged until the bias fits; its weights, worth less than
        # 1e-4 of that bias, go onto the coarser grid.
        least = (shift.abs() / (source_scale.double() * BIAS_LIMIT)).float().clamp(min=LEAST_SCALE)
        coarse = scale < least
        sign = factor.sign().float()
        weight = integers * self._per_channel(sign, integers)
        if _any(coarse):
            ratio = torch.where(coarse, scale / least, 1.0)
            weight = (weight * self._per_channel(ratio, weight)).round()
            scale = torch.where(coarse, least, scale)
        bias_scale = source_scale * scale
        return _Folded(
            weight,
            *_range(encoded, sign),
            scale,
            (shift / bias_scale.double()).round().float(),
            bias_scale,
        )

    def _with_own_bias_grid(
        self, encoded: Encoded, integers: Tensor, weight_scale: Tensor
    ) -> _Folded:
        """Of a layer that reads another one straight, in float: no sum of integers sets a scale."""
        factor, shift = self._affine()
        sign = factor.sign().float()
        scale = (weight_scale.double() * factor.abs()).float().clamp(min=LEAST_SCALE)
        bias_scale = (shift.abs() / BIAS_LIMIT).float().clamp(min=LEAST_SCALE)
        return _Folded(
            integers * self._per_channel(sign, integers),
            *_range(encoded, sign),
            scale,
            (shift / bias_scale.double()).round().float(),
            bias_scale,
        )

    def _affine(self) -> tuple[Tensor, Tensor]:
        """``gain * bn(inner_gain * (y + bias)) = factor * y + shift``, float64.

        Shape () where it is the same for all channels.
        """
        own_bias = self.layer.bias
        bias = torch.zeros((), dtype=torch.float64) if own_bias is None else own_bias.double()
        if self.bn is None:
            return torch.tensor(self.gain, dtype=torch.float64), self.gain * bias
        norm: Any = self.bn
        gamma, beta = (
            (1.0, 0.0) if norm.weight is None else (norm.weight.double(), norm.bias.double())
        )
        factor = self.gain * gamma / (norm.running_var.double() + norm.eps).sqrt()
        return factor * self.inner_gain, factor * (
            self.inner_gain * bias - norm.running_mean.double()
        ) + self.gain * beta

    @torch.no_grad()
    def integer_weights(self) -> IntegerWeights:
        """The integers and grids that evaluation uses, for an exporter."""
        if self.quantizer.clip.bits > 8:
            raise EdgeqError(
                "weights are still above 8 bits", hint="set the target widths before export"
            )
        folded = self._fold()
        if folded.low < -128 or folded.high > 127:
            what = f"weights from {folded.low} to {folded.high} do not fit int8"
            raise UsageError(
                what,
                hint="train them with fewer bits, or with a quantiser that leaves out the "
                "lowest integer",
            )
        axis = self._channels if folded.scale.ndim else None
        params = QuantParams.of(folded.scale.numpy(), 0, "int8", folded.low, folded.high, axis)
        bias = bias_params = None
        if folded.bias is not None and folded.bias_scale is not None:
            bias = folded.bias.numpy().astype(np.int32)
            bias_axis = 0 if folded.bias_scale.ndim else None
            bias_params = QuantParams.of(folded.bias_scale.numpy(), 0, "int32", axis=bias_axis)
        weight = np.ascontiguousarray(folded.weight.numpy().astype(np.int8))
        if isinstance(self.layer, nn.Linear):
            return IntegerWeights("Gemm", weight, params, bias, bias_params)
        layer: Any = self.layer
        strided = self._transposed and not self._turned
        return IntegerWeights(
            "ConvTranspose" if strided else "Conv",
            weight,
            params,
            bias,
            bias_params,
            layer.stride,
            self._padding(),
            layer.dilation,
            layer.groups,
            layer.output_padding if strided else (0, 0),
        )


def output_axis(layer: nn.Module) -> int | None:
    """The axis of a weight's output channels; None where they do not lie along one axis."""
    if not isinstance(layer, nn.ConvTranspose2d):
        return 0
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    return 0 if depthwise else 1 if layer.groups == 1 else None


def _any(found: Tensor) -> bool:
    """Whether one is set.

    A graph that torch compiles or exports has no numbers to ask yet, and computes the general case.
    """
    return torch.compiler.is_compiling() or bool(found.any())


def _range(encoded: Encoded, sign: Tensor) -> tuple[int, int]:
    """The range of the integers once the channels of a negative factor have changed sign."""
    if _any(sign < 0):
        return min(encoded.low, -encoded.high), max(encoded.high, -encoded.low)
    return encoded.low, encoded.high


def _as_convolution(weight: Tensor, groups: int) -> Tensor:
    """The weight of the convolution that computes a transposed one of stride 1.

    Swapped group by group, and flipped.
    """
    swapped: Tensor = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return swapped.flip(2, 3)
