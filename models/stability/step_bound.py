"""Bounds on the norm of a step, and a BatchNorm whose scales keep it from expanding.

A step ``x - h K'^T f(K' x + b)``, with ``f`` of Lipschitz constant ``L``, does not expand in the
Euclidean norm if and only if ``h L ||K'||^2 <= 2`` for every slope that ``f`` may have (Ben-Yair,
Eliasof, Treister, "Quantized convolutional neural networks through the lens of partial differential
equations", 2022, Eq. 16 bounds the step the same way). A BatchNorm whose scales are not negative,
between ``K`` and ReLU, is part of ``K'``: because ReLU is positively homogeneous,
``K^T ReLU(F K x + b)`` with a diagonal ``F >= 0`` is ``K'^T ReLU(K' x + b')`` with
``K' = sqrt(F) K``.

:class:`StepNorm` has such scales by construction: they are positive, and divided by a bound on the
norm of ``K`` that is part of the function that is trained. So there is nothing to project, and no
channel is clamped to zero.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.bounding.norms import convolution_norm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIPSCHITZ = 1.0
"""Of ReLU and of tanh."""
MARGIN = 1e-4
"""How far a step stays below the limit, to cover the rounding of float32."""
_SAMPLES = 16
_SQUARINGS = 4
_LARGEST_SHARE = 0.88
"""Of the largest step, where training starts."""
_LENGTH = 2.7
"""Sum of the shares of all steps, where training starts; see :func:`first_share`."""
_SAME = 1e-5  # relative; scales that were made of the same numbers elsewhere are left alone


def first_share(steps: int) -> float:
    """Where the share of a step starts in a network of so many steps.

    A large step takes away most of what ``K`` sees, so 27 of them one behind the other leave
    nothing of the signal, and such a network does not learn. Steps of one equation become shorter
    where there are more of them: the sum of all shares is the same at each depth. (Derived here.)
    """
    return min(_LARGEST_SHARE, _LENGTH / steps)


def norm_bound(weight: Tensor, size: tuple[int, int] | None = None) -> float:
    """An upper bound on the operator norm of a zero-padded convolution and of its adjoint.

    See :func:`edgeq.bounding.norms.convolution_norm`.
    """
    return convolution_norm(weight.detach().double().cpu().numpy(), size)


def squared_norm(kernels: Sequence[Tensor], scales: Tensor) -> Tensor:
    """An upper bound on the squared norm of ``diag(scales) K``, to be trained with.

    It holds at every image size. The matrix that the Fourier transform of a kernel has at a
    frequency is multiplied with its adjoint and squared a few times. The Frobenius norm of the
    result, to the power that undoes the squarings, is an upper bound with a gradient, close where
    few singular values are large (Gram iteration; Delattre et al., 2023). Between frequencies the
    bound of :func:`edgeq.bounding.norms.convolution_norm` holds. Where the last kernel is
    depthwise, its transform is replaced by the largest magnitude that it has in each channel, which
    leaves one matrix.

    Args:
        kernels: see :func:`compose`; real.
        scales: positive, (out,).
    """
    last = kernels[-1]
    if len(kernels) > 1 and last.shape[1] == 1:
        transform, between = _transform(last)
        peaks = transform.abs().amax((0, 1, 3)) / between
        matrix = compose(kernels[:-1]).flatten(1) * (peaks * scales)[:, None]
        return _bound(matrix)
    weight = compose(kernels) * scales[:, None, None, None]
    with torch.no_grad():
        transform, between = _transform(weight)
        largest = _log_bounds(transform.flatten(0, 1)).argmax()
    return _bound(_at(weight, largest, transform.shape[1])) / between**2


def _transform(weight: Tensor) -> tuple[Tensor, float]:
    """The matrix of a kernel at each frequency, and the least that lies between, as a share."""
    sizes = _sizes(weight)
    between = [
        math.cos(math.pi * (k - 1) / (2 * n)) for k, n in zip(weight.shape[2:], sizes, strict=True)
    ]
    return torch.fft.rfft2(weight, s=sizes).permute(2, 3, 0, 1), math.prod(between)


def _sizes(weight: Tensor) -> list[int]:
    """How many frequencies are looked at along the two axes."""
    return [max(_SAMPLES, 4 * k) if k > 1 else 1 for k in weight.shape[2:]]


def _at(weight: Tensor, number: Tensor, columns: int) -> Tensor:
    """The matrix of one frequency alone, by its number: only the largest one gets a gradient."""
    (height, width), (h, w) = _sizes(weight), weight.shape[2:]
    row, column = (number // columns).double() / height, (number % columns).double() / width
    down, right = (torch.arange(n, device=weight.device) for n in (h, w))
    angles = (down[:, None] * row + right * column) * (-2 * math.pi)
    turns = torch.polar(torch.ones_like(angles), angles).to(weight.dtype.to_complex())
    found: Tensor = (weight * turns).sum((2, 3))
    return found


def _bound(matrix: Tensor) -> Tensor:
    """An upper bound on the largest squared singular value."""
    found: Tensor = _log_bounds(matrix[None])[0].exp()
    return found


def _log_bounds(matrices: Tensor) -> Tensor:
    """The logarithm of an upper bound on the largest squared singular value of each matrix."""
    wide = matrices.shape[-2] < matrices.shape[-1]
    gram = matrices @ matrices.mH if wide else matrices.mH @ matrices
    logarithm = torch.zeros((), dtype=matrices.real.dtype)
    for _ in range(_SQUARINGS):
        size = _frobenius(gram)
        gram = gram / size[..., None, None]
        gram, logarithm = gram @ gram, 2 * (logarithm + size.log())
    found: Tensor = (_frobenius(gram).log() + logarithm) / 2**_SQUARINGS
    return found


def _frobenius(matrices: Tensor) -> Tensor:
    tiny = torch.finfo(matrices.real.dtype).tiny
    return (matrices.abs().square().sum((-2, -1)) + tiny).sqrt()


def compose(kernels: Sequence[Tensor]) -> Tensor:
    """One kernel for convolutions that follow each other, of which all but the last are 1x1.

    Args:
        kernels: (out, in / groups, kh, kw) each; the last one may be depthwise.

    Returns:
        (out, in, kh, kw), the kernel of all of them with one group.
    """
    return reduce(_after, kernels[1:], kernels[0])


def _after(first: Tensor, second: Tensor) -> Tensor:
    matrix = first.flatten(1)
    if second.shape[1] == 1 and len(matrix) != 1:  # depthwise
        return second * matrix[:, :, None, None]
    return torch.einsum("omhw,mi->oihw", second, matrix)


def margin(
    norm: nn.BatchNorm2d,
    kernels: Sequence[Tensor],
    step_size: float,
    second: nn.BatchNorm2d | None = None,
) -> float:
    """``h L ||K'||^2 / 2``, from the upper bound on the norm.

    The step does not expand where it is at most 1. With a second BatchNorm behind ``K^T``, of
    scales ``G``, the step does not expand in the norm weighted by ``1 / G``, with
    ``K' = sqrt(F) K sqrt(G)``; that says nothing of several steps in a row, whose weights differ.

    Args:
        norm: the BatchNorm behind ``K``; in evaluation it scales by
            ``weight / sqrt(running_var + eps)``.
        kernels: see :func:`compose`.
        step_size: ``h``.
        second: the one behind ``K^T``, if there is one.

    Returns:
        Infinity where a scale is negative: then nothing is known.
    """
    scales = [_scales(each) for each in (norm, second) if each is not None]
    if any(bool((each < 0).any()) for each in scales):
        return math.inf
    kernel = compose(kernels).detach().double() * scales[0].sqrt()[:, None, None, None]
    if second is not None:
        kernel = kernel * scales[1].sqrt()[None, :, None, None]
    return step_size * LIPSCHITZ * norm_bound(kernel) ** 2 / 2


def _scales(bn: nn.BatchNorm2d) -> Tensor:
    variance = bn.get_buffer("running_var").double()
    return bn.weight.detach().double() / (variance + bn.eps).sqrt()


class StepNorm(nn.BatchNorm2d):
    """The BatchNorm between ``K`` and ReLU of a step that never expands.

    Its scales, over the deviations, are ``2 s g / (h ||sqrt(g) K||^2)``: ``g``, the softplus of
    ``gain``, says how much each channel counts, ``s``, the sigmoid of ``share``, how large the step
    is, and the norm is :func:`squared_norm`. In training they follow the weights at each step. In
    evaluation ``weight`` and ``bias`` are numbers as those of any BatchNorm are, which
    :meth:`certify` makes.

    Args:
        channels: of ``K x``.
        step_size: ``h``.
    """

    def __init__(self, channels: int, step_size: float) -> None:
        super().__init__(channels)
        self.step_size = step_size
        del self.weight, self.bias
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.gain = nn.Parameter(torch.full((channels,), math.log(math.e - 1)))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.share = nn.Parameter(torch.tensor(0.0))
        self.start(first_share(1))
        self._kernels: tuple[Callable[[], Sequence[Sequence[Tensor]]], ...] = ()

    @torch.no_grad()
    def start(self, share: float) -> None:
        """Begin with this share of the largest step, above 0 and below 1."""
        self.share.fill_(math.log(share / (1 - share)))

    def bound_by(self, kernels: Callable[[], Sequence[Sequence[Tensor]]]) -> None:
        """Say what ``K`` is: one or several forms of it, each as :func:`compose` takes it."""
        self._kernels = (kernels,)  # in a tuple, so that no module becomes one of this

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What ``weight`` and ``bias`` are for the present weights, with their gradients."""
        gain = functional.softplus(self.gain)
        (kernels,) = self._kernels
        squared = torch.stack([squared_norm(each, gain.sqrt()) for each in kernels()]).max()
        step = 2 * (1 - MARGIN) * self.share.sigmoid() / (LIPSCHITZ * self.step_size)
        deviation = (self.get_buffer("running_var") + self.eps).sqrt()
        weight = step * gain / (squared + torch.finfo(squared.dtype).tiny) * deviation
        return weight, weight * self.shift

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  as in the base
        """(n, channels, h, w) to the same."""
        if not self.training:
            return super().forward(input)
        weight, bias = self.scale_and_shift()
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        y = functional.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            None,
            None,
            True,
            self.momentum or 0.0,
            self.eps,
        )
        return y * weight[:, None, None] + bias[:, None, None]

    @torch.no_grad()
    def certify(self) -> None:
        """Make ``weight`` and ``bias``; ones made of the same numbers stay, bit for bit."""
        weight, bias = self.scale_and_shift()
        if not torch.allclose(weight, self.weight, rtol=_SAME, atol=0.0):
            self.weight.copy_(weight)
            self.bias.copy_(bias)
        elif not torch.allclose(bias, self.bias, rtol=_SAME, atol=_SAME * float(bias.abs().max())):
            self.bias.copy_(bias)
