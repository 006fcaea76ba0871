"""Bounds on the norm of a convolution, and the projection that keeps a step from expanding.

A step ``x - h K'^T f(K' x + b)``, with ``f`` of Lipschitz constant ``L``, does not expand in the
Euclidean norm if and only if ``h L ||K'||^2 <= 2`` for every slope that ``f`` may have (Ben-Yair,
Eliasof, Treister, "Quantized convolutional neural networks through the lens of partial differential
equations", 2022, Eq. 16 bounds the step the same way). A BatchNorm whose scales are not negative,
between ``K`` and ReLU, is part of ``K'``: because ReLU is positively homogeneous,
``K^T ReLU(F K x + b)`` with a diagonal ``F >= 0`` is ``K'^T ReLU(K' x + b')`` with
``K' = sqrt(F) K``.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

LIPSCHITZ = 1.0
"""Of ReLU and of tanh."""
MARGIN = 1e-4
"""How far a projected step stays below the limit.

It covers the rounding of float32 and of the integers of a bias.
"""
_SAMPLES = 16
_ROUNDING = 1e-9  # far more than float64 loses in a product and its eigenvalues


def norm_bound(weight: Tensor, size: tuple[int, int] | None = None) -> float:
    """An upper bound on the operator norm of a zero-padded convolution of stride 1.

    It holds for the adjoint too.

    The convolution of an ``h x w`` image is a compression of the circular one on
    ``(h + k - 1) x (w + k - 1)`` pixels, whose norm is the largest one among the matrices that the
    Fourier transform of the kernel has at each frequency.

    Args:
        weight: (out, in, kh, kw) with one group; real.
        size: height and width of the image; None for a bound that holds at every size. That one
            samples the transform, a trigonometric polynomial of degree ``(k - 1) / 2`` in each
            direction, at N points and allows for what lies between them: the factor
            ``1 / cos(pi (k - 1) / (2 N))`` (Ehlich and Zeller, 1964) for each direction.
    """
    kernel = weight.shape[2:]
    samples = [
        max(_SAMPLES, 4 * k) if size is None else size[axis] + k - 1
        for axis, k in enumerate(kernel)
    ]
    between = [
        math.cos(math.pi * (k - 1) / (2 * n)) if size is None else 1.0
        for k, n in zip(kernel, samples, strict=True)
    ]
    transform = torch.fft.rfft2(weight.detach().double(), s=samples).permute(2, 3, 0, 1)
    if transform.shape[-2] < transform.shape[-1]:
        transform = transform.mH
    # many times faster than singular values
    largest = torch.linalg.eigvalsh(transform.mH @ transform).max().clamp(min=0)
    return math.sqrt(largest) * (1 + _ROUNDING) / math.prod(between)


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


def step_norm(
    bn: nn.BatchNorm2d, kernels: Sequence[Tensor], size: tuple[int, int] | None = None
) -> float:
    """The bound on ``||K'||``: the kernels times the square root of the BatchNorm's scales.

    Args:
        bn: in evaluation it scales by ``weight / sqrt(running_var + eps)``; negative scales count
            as zero.
        kernels: see :func:`compose`.
        size: see :func:`norm_bound`.
    """
    return norm_bound(
        compose(kernels).detach().double() * _scales(bn).sqrt()[:, None, None, None], size
    )


def margin(bn: nn.BatchNorm2d, kernels: Sequence[Tensor], step_size: float) -> float:
    """``h L ||K'||^2 / 2``, from the upper bound on the norm.

    The step does not expand where it is at most 1.
    """
    return step_size * LIPSCHITZ * step_norm(bn, kernels) ** 2 / 2


def _scales(bn: nn.BatchNorm2d) -> Tensor:
    variance = bn.get_buffer("running_var").double()
    return bn.weight.detach().double().clamp(min=0) / (variance + bn.eps).sqrt()


@torch.no_grad()
def project(bn: nn.BatchNorm2d, kernels: Sequence[Tensor], step_size: float) -> None:
    """Scale a BatchNorm down until ``h L ||K'||^2 <= 2`` holds at every image size.

    Negative scales become zero.
    """
    bn.weight.clamp_(min=0)
    excess = margin(bn, kernels, step_size) / (1 - MARGIN)
    if excess > 1 + MARGIN / 2:  # one that was projected before is left alone, bit for bit
        bn.weight.div_(excess)
