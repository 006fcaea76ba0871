"""Norms of layers as operators: rigorous upper bounds, and lower ones to see how tight they are.

In l-infinity the norm of a convolution is the largest sum of magnitudes of a filter: attained
wherever a whole filter lies inside the image, an upper bound where it never does. In l2 it is
bounded through the Fourier transform of the kernel. Both hold for zero padding of any width, since
a padded convolution only leaves rows and columns of a larger circular one out; for any stride,
which leaves rows out; and for the adjoint. They do not hold for reflected or circular padding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SAMPLES = 16
_ROUNDING = 1e-9  # far more than float64 loses in a product and its eigenvalues


def convolution_norm(weight: NDArray[np.floating], size: tuple[int, int] | None = None) -> float:
    """An upper bound on the l2 norm of a zero-padded convolution, and of its adjoint.

    The convolution of an ``h x w`` image is a compression of the circular one on
    ``(h + k - 1) x (w + k - 1)`` pixels, whose norm is the largest one among the matrices that the
    Fourier transform of the kernel has at each frequency.

    Args:
        weight: (out, in, kh, kw) of one group, dilated already; real.
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
        math.cos(math.pi * (k - 1) / (2 * n)) if size is None and k > 1 else 1.0
        for k, n in zip(kernel, samples, strict=True)
    ]
    if math.prod(kernel) == 1:
        samples = [1, 1]
    transform = np.fft.rfft2(weight.astype(np.float64), s=samples).transpose(2, 3, 0, 1)
    return math.sqrt(_largest_square(transform)) * (1 + _ROUNDING) / math.prod(between)


def matrix_norm(matrix: NDArray[np.floating]) -> float:
    """An upper bound on the l2 norm of a matrix, above the true one by rounding alone."""
    return math.sqrt(_largest_square(matrix.astype(np.float64))) * (1 + _ROUNDING)


def _largest_square(matrices: NDArray[np.floating] | NDArray[np.complexfloating]) -> float:
    """The largest squared singular value of several matrices.

    Eigenvalues of the smaller product are many times faster than singular values.
    """
    adjoint = np.swapaxes(matrices, -1, -2).conj()
    wide = matrices.shape[-2] < matrices.shape[-1]
    gram = matrices @ adjoint if wide else adjoint @ matrices
    return max(float(np.linalg.eigvalsh(gram).max(initial=0.0)), 0.0)


def row_sums(weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """The sum of magnitudes of each filter or row, (out,); the largest is the l-infinity norm."""
    return np.asarray(np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1))


def grouped_norm(
    weight: NDArray[np.floating],
    groups: int,
    dilation: tuple[int, int] = (1, 1),
    size: tuple[int, int] | None = None,
) -> float:
    """The l2 bound of a convolution in groups, which act on channels of their own.

    Args:
        weight: (out, in / groups, kh, kw).
        groups: how many.
        dilation: of the kernel.
        size: see :func:`convolution_norm`.
    """
    parts = np.split(_dilated(weight, dilation), groups)
    return max((convolution_norm(part, size) for part in parts), default=0.0)


def _dilated(weight: NDArray[np.floating], dilation: tuple[int, int]) -> NDArray[np.floating]:
    if dilation == (1, 1):
        return weight
    spread = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    found = np.zeros((*weight.shape[:2], *spread), weight.dtype)
    found[:, :, :: dilation[0], :: dilation[1]] = weight
    return found


def power_iteration(
    forward: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    adjoint: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    shape: tuple[int, ...],
    steps: int = 50,
) -> float:
    """A lower bound on the l2 norm of a linear operator.

    Args:
        forward: the operator.
        adjoint: its adjoint.
        shape: of its input.
        steps: how often both are applied.
    """
    x = np.random.default_rng(0).standard_normal(shape)
    found = 0.0
    for _ in range(steps):
        length = float(np.linalg.norm(x))
        if length == 0:
            return found
        image = forward(x / length)
        found = float(np.linalg.norm(image))
        x = adjoint(image)
    return found
