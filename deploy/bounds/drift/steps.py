"""Residual steps that do not expand: ``x - K^T f(K x)`` in a deployed file.

Integers of a tied pair are the same, so that a file shows what a network promised. With weights
``A`` of the first convolution and ``B`` of the second, a step is ``x + B f(A x + b)``. Where each
filter of ``A`` is a non-negative multiple of the adjoint of ``-B``, ``A = F K`` and ``B = -K^T``
with a diagonal ``F >= 0``, the Jacobian is ``I - K'^T S K'`` with ``K' = sqrt(F) K`` and slopes
``0 <= S <= 1``. It is symmetric, with eigenvalues from ``1 - ||K'||^2`` to 1, so its norm is at
most ``max(1, ||K'||^2 - 1)``. What is left of ``A`` beyond that multiple, ``E = A - F K``, adds at
most ``||B|| ||E||``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.bounding.norms import convolution_norm

if TYPE_CHECKING:
    from edgeq.deploy.bounds.drift.maps import Filters


def step_norm(first: Filters, second: Filters) -> float | None:
    """A bound on the l2 Lipschitz constant of ``x + B f(A x + b)``, or None where none is known.

    Args:
        first: the convolution ``A``.
        second: the convolution ``B``, ordinary or transposed.
    """
    a, b = first.weight, second.weight
    if first.transposed or a.ndim != 4:
        return None
    for window in (first.window, second.window):
        if (window.stride, window.dilation, window.groups) != ((1, 1), (1, 1), 1):
            return None
    if not second.transposed:  # an adjoint has the axes swapped and the kernel turned
        b = b.swapaxes(0, 1)[:, :, ::-1, ::-1]
    k = -b
    if a.shape != k.shape or not _adjoint_windows(first, second):
        return None
    rows, adjoint = a.reshape(len(a), -1), k.reshape(len(k), -1)
    lengths = (adjoint**2).sum(1)
    factor = (rows * adjoint).sum(1) / np.where(lengths > 0, lengths, 1)
    factor = np.maximum(np.where(lengths > 0, factor, 0.0), 0.0)[:, None, None, None]
    rest = a - factor * k
    squared = convolution_norm(np.sqrt(factor) * k) ** 2
    return max(1.0, squared - 1) + convolution_norm(rest) * convolution_norm(k)


def _adjoint_windows(first: Filters, second: Filters) -> bool:
    """Whether the second convolution's padding makes it the adjoint of one with the first's."""
    ahead, behind = first.window.padding, second.window.padding
    if second.transposed:
        return ahead == behind
    kernel = first.weight.shape[2:]
    spans = [kernel[0] - 1, kernel[1] - 1] * 2
    return tuple(span - pad for span, pad in zip(spans, ahead, strict=True)) == behind
