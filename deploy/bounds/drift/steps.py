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
    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqOp


def step_norm(
    first: QdqOp, second: QdqOp, weights: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> float | None:
    """A bound on the l2 Lipschitz constant of ``x + B f(A x + b)``, or None where none is known.

    Args:
        first: the convolution ``A``.
        second: the convolution ``B``, ordinary or transposed.
        weights: of both, real, (out, in, kh, kw) as the file has them.
    """
    a, b = weights
    strides = [op.integers("strides", (1, 1)) for op in (first, second)]
    groups = [op.integer("group", 1) for op in (first, second)]
    if first.op_type != "Conv" or a.ndim != 4 or strides != [(1, 1)] * 2 or groups != [1, 1]:
        return None
    if second.op_type == "Conv":  # an adjoint has the axes swapped and the kernel turned
        b = b.swapaxes(0, 1)[:, :, ::-1, ::-1]
    elif second.op_type != "ConvTranspose":
        return None
    k = -b
    if a.shape != k.shape or not _adjoint_windows(first, second, a.shape[2:]):
        return None
    rows, adjoint = a.reshape(len(a), -1), k.reshape(len(k), -1)
    lengths = (adjoint**2).sum(1)
    factor = (rows * adjoint).sum(1) / np.where(lengths > 0, lengths, 1)
    factor = np.maximum(np.where(lengths > 0, factor, 0.0), 0.0)[:, None, None, None]
    rest = a - factor * k
    squared = convolution_norm(np.sqrt(factor) * k) ** 2
    return max(1.0, squared - 1) + convolution_norm(rest) * convolution_norm(k)


def _adjoint_windows(first: QdqOp, second: QdqOp, kernel: tuple[int, ...]) -> bool:
    """Whether the second convolution's padding makes it the adjoint of one with the first's."""
    ahead = first.integers("pads", (0, 0, 0, 0))
    behind = second.integers("pads", (0, 0, 0, 0))
    if second.op_type == "ConvTranspose":
        return ahead == behind
    spans = [kernel[0] - 1, kernel[1] - 1] * 2
    return tuple(span - pad for span, pad in zip(spans, ahead, strict=True)) == behind
