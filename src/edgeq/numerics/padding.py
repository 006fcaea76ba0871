"""The padding that formats leave to runtimes: SAME."""

from __future__ import annotations


def same_padding(
    size: int, taps: int, stride: int, dilation: int = 1, *, upper: bool = True
) -> tuple[int, int]:
    """What SAME puts before and behind an axis: so much that there are ceil(size / stride) windows.

    Args:
        size: of the image along the axis.
        taps: of the window.
        stride: how far the window moves.
        dilation: the distance between taps.
        upper: whether an odd element goes behind the image, as TFLite's SAME and ONNX's SAME_UPPER
            have it; else before it, as SAME_LOWER.
    """
    windows = -(-size // stride)
    total = max((windows - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
