"""Images resized: one call by whole factors, or products with constants.

Repeating pixels moves values only; between pixels lie weighted means. Where integer kernels sample
beside the points of torch, each axis is a product with the matrix of what torch makes of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.numerics.sampling import convention_of, points_of
from edgeq.training.qat_transform.axes.shaped import shaped_call
from edgeq.training.qat_transform.normal_form.functional_to_module import unused_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, fx

LINEAR = "bilinear"
_OPTIONS = ("size", "scale_factor", "mode", "align_corners")
_NEAREST = ("nearest", "nearest-exact")  # the same for whole factors
# up to here the inverse in float32, which torch and others sample by, reaches every pixel
_MOST = 16
_LARGEST = 2**20  # elements of a matrix


def write_resizes(graph_module: fx.GraphModule) -> None:
    """Write as products each resize that no integer kernel computes, in place."""
    for node in list(graph_module.graph.nodes):
        if node.target in (F.interpolate, F.upsample) and not _is_sampled(node):
            _as_products(graph_module, node)


def _options(node: fx.Node) -> tuple[Any, Any, str, bool]:
    size, factor, mode, corners = (argument(node, at, name) for at, name in enumerate(_OPTIONS, 1))
    return size, factor, mode or "nearest", bool(corners)


def _is_sampled(node: fx.Node) -> bool:
    """Whether integer kernels resize as torch does, as far as its sizes are known."""
    _, _, mode, corners = _options(node)
    sizes = _sizes(node)
    if sizes is None:
        return True
    whole = _whole([new / old for old, new in sizes])
    if mode in _NEAREST or whole is None or mode != LINEAR:
        return mode in _NEAREST and whole is not None
    how = {"coordinate_transformation_mode": "align_corners" if corners else "half_pixel"}
    axes = [
        (points, old, new)
        for old, new in sizes
        if (points := points_of(how, 0, old, new)) is not None
    ]
    return convention_of(axes) is not None


def _sizes(node: fx.Node) -> list[tuple[int, int]] | None:
    """Height and width before and after; None where no example has told them."""
    source: Any = node.args[0] if node.args else None
    before = None if source is None else source.meta.get("shape")
    after = node.meta.get("shape")
    if before is None or after is None or len(after) != 4:
        return None
    return list(zip(before[2:], after[2:], strict=True))


def _as_products(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """``y = x M`` along each axis that changes, M what torch makes of unit vectors."""
    sizes = _sizes(node)
    if sizes is None or any(math.prod(pair) > _LARGEST for pair in sizes):
        return
    matrices = [
        None if old == new else _matrix(node, place, old) for place, (old, new) in enumerate(sizes)
    ]
    multiply_axes(graph_module, node, matrices)


def multiply_axes(
    graph_module: fx.GraphModule, node: fx.Node, matrices: Sequence[Tensor | None]
) -> None:
    """Write a node as the product of its image with a constant along height and width, in place.

    Args:
        graph_module: the graph.
        node: of one image.
        matrices: (before, after), for height and width; None for an axis that stays.
    """
    graph, made = graph_module.graph, node.all_input_nodes[0]
    with graph.inserting_before(node):
        for axis, matrix in ((3, matrices[1]), (2, matrices[0])):
            if matrix is None:
                continue
            path = unused_path(graph_module, f"{node.name}_axis{axis}")
            graph_module.register_buffer(path, matrix[None, None])
            constant = graph.get_attr(path)
            constant.meta["shape"] = (1, 1, *matrix.shape)
            turned = made if axis == 3 else shaped_call(graph, torch.transpose, made, 2, 3)
            made = shaped_call(graph, torch.matmul, turned, constant)
            if axis == 2:
                made = shaped_call(graph, torch.transpose, made, 2, 3)
    node.replace_all_uses_with(made)
    graph.erase_node(node)


def _matrix(node: fx.Node, place: int, old: int) -> Tensor:
    """(before, after): what a resize makes of unit vectors along height, 0, or width, 1."""
    size, factor, mode, corners = _options(node)
    lines = torch.eye(old)[:, None, None, :]
    given: dict[str, Any] = {"mode": mode}
    if mode not in _NEAREST:
        given["align_corners"] = corners
    if factor is None:
        given["size"] = (1, size if isinstance(size, int) else size[place])
    else:
        given["scale_factor"] = (
            1.0,
            float(factor if isinstance(factor, int | float) else factor[place]),
        )
        given["recompute_scale_factor"] = node.kwargs.get("recompute_scale_factor")
    return F.interpolate(lines, **given)[:, 0, 0]


def pooling_matrix(before: int, after: int) -> Tensor | None:
    """(before, after): the means of an adaptive pooling along an axis; None where it stays."""
    if before == after:
        return None
    return F.adaptive_avg_pool2d(torch.eye(before)[:, None, None, :], (1, after))[:, 0, 0]


def resize_by_factors(_: fx.Graph, node: fx.Node) -> None:
    """``F.interpolate`` gets its factors along height and width, by name.

    Raises:
        UsageError: its mode is another than the nearest pixels or bilinear, or its factors are not
            whole or not known.
    """
    size, factor, mode, corners = _options(node)
    if mode not in (*_NEAREST, LINEAR):
        raise UsageError(
            f"{node.name} resizes by mode {mode}, which cannot be quantised",
            hint='use mode="nearest" or "bilinear", by a whole factor',
        )
    found = _from_sizes(node) or _from(factor)
    if mode == LINEAR and _sizes(node) is None and not _is_halving(found, corners):
        raise UsageError(
            f"{node.name} resizes between pixels, by points that depend on a size which is not "
            "known",
            hint="give an example of the input to edgeq.quantize",
        )
    if found is None:
        raise UsageError(
            f"{node.name} resizes to {size if factor is None else factor}, which is no "
            "known whole multiple of each side",
            hint=f"resize by a whole factor up to {_MOST}; where it is one of sizes, give an "
            "example of the input to edgeq.quantize",
        )
    how: dict[str, Any] = (
        {"mode": LINEAR, "align_corners": corners} if mode == LINEAR else {"mode": "nearest"}
    )
    node.args, node.kwargs = (
        (node.args[0],),
        {"scale_factor": tuple(float(each) for each in found), **how},
    )
    node.target = F.interpolate


def _from_sizes(node: fx.Node) -> Sequence[int] | None:
    sizes = _sizes(node)
    return None if sizes is None else _whole([new / old for old, new in sizes])


def _is_halving(factors: Sequence[int] | None, corners: bool) -> bool:
    """Whether integer kernels sample at the right points, whatever the size: by powers of two."""
    return not corners and factors is not None and all(each & each - 1 == 0 for each in factors)


def _from(factor: Any) -> Sequence[int] | None:
    factors = factor if isinstance(factor, tuple | list) else (factor, factor)
    return (
        _whole(factors)
        if len(factors) == 2 and all(isinstance(each, int | float) for each in factors)
        else None
    )


def _whole(factors: Sequence[float]) -> Sequence[int] | None:
    return (
        [int(each) for each in factors]
        if all(each in range(1, _MOST + 1) for each in factors)
        else None
    )
