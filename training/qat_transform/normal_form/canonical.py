"""Brings a traced graph into its normal form, so that later code meets few operators.

Afterwards: methods are functions, nothing works in place, layers and BatchNorms called as functions
are modules, constants of channels are BatchNorms with fixed statistics, a fully connected layer
reads features only, a mean over height and width is a global pooling, ``split``, ``chunk`` and
indices are slices, and a reshape keeps the batch's axis. All of it is exact, but for the rounding
inside of a chain of constants, and that of a fully connected layer that has become a convolution.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument, name_of
from edgeq.network.rows import pick_rows
from edgeq.training.qat_transform.axes.batch_first import keep_batch_first
from edgeq.training.qat_transform.axes.dividing import DIVISIONS
from edgeq.training.qat_transform.axes.indexing import (
    axes_in_one,
    one_row_each,
    slice_and_reshape,
    two_axes_as_all,
)
from edgeq.training.qat_transform.axes.linear_as_conv1x1 import as_image, convolve_tokens
from edgeq.training.qat_transform.axes.lines import lines_as_images
from edgeq.training.qat_transform.axes.reshaping import RESHAPES
from edgeq.training.qat_transform.axes.shaped import (
    is_constant,
    shape_of,
    tell_constant_shapes,
)
from edgeq.training.qat_transform.normal_form.channel_constants import name_channel_constants
from edgeq.training.qat_transform.normal_form.composed import write_composed
from edgeq.training.qat_transform.normal_form.conditions import write_conditions
from edgeq.training.qat_transform.normal_form.functional_to_module import lift, pad_in_numbers
from edgeq.training.qat_transform.normal_form.masks import fill_masks
from edgeq.training.qat_transform.normal_form.norms import write_norms
from edgeq.training.qat_transform.normal_form.pooling import pool_evenly
from edgeq.training.qat_transform.normal_form.upsampling import resize_by_factors, write_resizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OTHER_NAMES: Mapping[Any, Any] = {
    torch.bmm: torch.matmul,
    torch.mm: torch.matmul,
    operator.matmul: torch.matmul,
    torch.swapaxes: torch.transpose,
    torch.swapdims: torch.transpose,
    torch.moveaxis: torch.movedim,
}
"""Functions that take the same arguments."""
_SOFTMAX: Mapping[Any, Any] = {F.softmax: torch.softmax, F.log_softmax: torch.log_softmax}
"""Functions that take a level of warnings between the axis and the type."""
_SYNONYMS: Mapping[Any, Any] = {
    torch.mul: operator.mul,
    torch.multiply: operator.mul,
    torch.concat: torch.cat,
    torch.concatenate: torch.cat,
    torch.clip: torch.clamp,
    operator.abs: torch.abs,
    operator.neg: torch.neg,
    torch.add: operator.add,
    torch.sub: operator.sub,
    torch.subtract: operator.sub,
    torch.div: operator.truediv,
    torch.divide: operator.truediv,
    torch.true_divide: operator.truediv,
}
_RESIZED = {
    "size": "size",
    "scale_factor": "scale_factor",
    "mode": "mode",
    "align_corners": "align_corners",
}
_FUNCTIONS_OF_MODULES: Mapping[type, tuple[Any, Mapping[str, str]]] = {
    nn.ZeroPad1d: (F.pad, {"pad": "padding"}),
    nn.ZeroPad2d: (F.pad, {"pad": "padding"}),
    nn.Flatten: (torch.flatten, {"start_dim": "start_dim", "end_dim": "end_dim"}),
    nn.Unflatten: (torch.unflatten, {"dim": "dim", "sizes": "unflattened_size"}),
    nn.Upsample: (F.interpolate, _RESIZED),
    nn.UpsamplingNearest2d: (F.interpolate, _RESIZED),
    nn.UpsamplingBilinear2d: (F.interpolate, _RESIZED),
    nn.PixelShuffle: (F.pixel_shuffle, {"upscale_factor": "upscale_factor"}),
    nn.PixelUnshuffle: (F.pixel_unshuffle, {"downscale_factor": "downscale_factor"}),
    nn.ChannelShuffle: (F.channel_shuffle, {"groups": "groups"}),
    nn.Softmax: (torch.softmax, {"dim": "dim"}),
    nn.LogSoftmax: (torch.log_softmax, {"dim": "dim"}),
    nn.GLU: (F.glu, {"dim": "dim"}),
}
_NOTHING = frozenset(
    ("contiguous", "clone", "float", "int", "long", "requires_grad_", "type_as", "to")
)
_METHODS: Mapping[str, Any] = {
    "view": torch.reshape,
    "repeat": torch.tile,
    "expand": torch.broadcast_to,
    "size": None,
    "dim": None,
}
"""Methods that are called otherwise as functions, or not at all."""
_LIKE_ANOTHER: Mapping[str, Any] = {
    "expand_as": torch.broadcast_to,
    "reshape_as": torch.reshape,
    "view_as": torch.reshape,
}
"""Methods that take the sizes of another tensor."""
_FILLED: Mapping[Any, Any] = {
    torch.zeros_like: torch.zeros,
    torch.ones_like: torch.ones,
    torch.full_like: torch.full,
}
"""Constants of the sizes of another tensor, the same for each sample."""
_OF_SIZES = frozenset((torch.reshape, torch.permute, torch.tile, torch.broadcast_to))
"""Functions that take a list, where the methods take numbers too."""
_ASSERTIONS = frozenset(("_assert", "_assert_async", "_assert_is_none"))


def canonicalize(
    graph_module: fx.GraphModule, batch: int, *, norms_in_integers: bool = False
) -> None:
    """Rewrite a graph in place.

    Args:
        graph_module: as traced.
        batch: how many samples the example had.
        norms_in_integers: whether LayerNorms are written in operators that integer kernels have.

    Raises:
        UsageError: something has no canonical form; names it.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and name_of(node.target) in _ASSERTIONS:
            graph.erase_node(node)
        elif node.op == "call_module":
            _as_function(node, graph_module.get_submodule(str(node.target)))
        else:
            _spell(node)
    graph.eliminate_dead_code()  # conditions of assertions, on what need not be a tensor
    tell_constant_shapes(graph_module, batch)
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in DIVISIONS and not is_constant(node):
            DIVISIONS[node.target](node)
    write_resizes(graph_module)
    write_composed(graph)
    fill_masks(graph_module)
    write_conditions(graph)
    write_norms(graph, in_integers=norms_in_integers)
    graph.eliminate_dead_code()
    keep_batch_first(graph_module, batch)
    name_channel_constants(graph_module)
    lift(graph_module)
    lines_as_images(graph_module)
    pad_in_numbers(graph_module)
    pool_evenly(graph_module)
    for node in list(graph.nodes):
        rewrite = _REWRITES.get(node.target) if node.op == "call_function" else None
        if rewrite is not None and not is_constant(node):
            rewrite(graph, node)
    convolve_tokens(graph_module)
    _drop_unused(graph)
    graph_module.delete_all_unused_submodules()
    graph.lint()
    graph_module.recompile()


def _as_function(node: fx.Node, module: Any) -> None:
    """Modules that hold no more than the options of a function, or a slope for each channel."""
    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
        with node.graph.inserting_before(node):
            slopes = node.graph.get_attr(f"{node.target}.weight")
        node.op, node.target, node.args = "call_function", torch.prelu, (node.args[0], slopes)
        return
    spelled = _FUNCTIONS_OF_MODULES.get(type(module))
    if spelled is not None and not (
        isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
    ):
        node.op, node.target = "call_function", spelled[0]
        node.args, node.kwargs = (
            (node.args[0],),
            {name: getattr(module, attribute) for name, attribute in spelled[1].items()},
        )


def _spell(node: fx.Node) -> None:
    """A method as a function, and a function by one of its names."""
    if node.op == "call_method":
        name = str(node.target)
        if name in _LIKE_ANOTHER:
            node.args, node.kwargs = (node.args[0], shape_of(node)), {}
            node.op, node.target = "call_function", _LIKE_ANOTHER[name]
            return
        if name in _NOTHING:
            node.replace_all_uses_with(node.all_input_nodes[0])
            return
        function = _functions_of_methods(name)
        if function is None:
            return
        node.op, node.target = "call_function", function
    elif node.op != "call_function":
        return
    if node.target in _FILLED:
        node.args, node.kwargs = ((1, *shape_of(node)[1:]), *node.args[1:]), {}
        node.target = _FILLED[node.target]
        return
    node.target = _OTHER_NAMES.get(node.target, node.target)
    if node.target in _SOFTMAX:
        _name_axis(node)
    if node.target is F.embedding:
        _pick_rows(node)
    if (
        node.target in _OF_SIZES
        and len(node.args) > 1
        and not isinstance(node.args[1], tuple | list)
    ):
        node.args = (node.args[0], node.args[1:])
    if node.target in _SYNONYMS and _plain_arithmetic(node):
        node.target = _SYNONYMS[node.target]


def _name_axis(node: fx.Node) -> None:
    """A softmax of ``torch.nn.functional`` as that of ``torch``."""
    source, axis = argument(node, 0, "input"), argument(node, 1, "dim")
    dtype = argument(node, 3, "dtype")
    if axis is None:
        raise UsageError(f"{node.name} does not say along which axis", hint="give it dim")
    node.target, node.args = _SOFTMAX[node.target], (source,)
    node.kwargs = {"dim": axis, **({} if dtype is None else {"dtype": dtype})}


def _pick_rows(node: fx.Node) -> None:
    """Rows of a table, which stands first; the numbers may have any type."""
    numbers, table = argument(node, 0, "input"), argument(node, 1, "weight")
    padding = argument(node, 2, "padding_idx")
    if argument(node, 3, "max_norm") is not None:
        raise UsageError(
            f"{node.name} changes its table by max_norm while it is read",
            hint="leave max_norm out",
        )
    node.target, node.kwargs = pick_rows, {}
    node.args = (table, numbers, -1 if padding is None else padding)


def _functions_of_methods(name: str) -> Any:
    return _METHODS.get(name, getattr(torch, name, None))


def _plain_arithmetic(node: fx.Node) -> bool:
    if "other" in node.kwargs:
        node.args, node.kwargs = (
            (*node.args, node.kwargs["other"]),
            {k: v for k, v in node.kwargs.items() if k != "other"},
        )
    return node.target is torch.clip or not node.kwargs or _SYNONYMS[node.target] is torch.cat


def _drop_unused(graph: fx.Graph) -> None:
    graph.eliminate_dead_code()
    for node in [node for node in graph.nodes if node.op == "placeholder"]:
        if not node.users and node.args:  # a parameter with a default, which the trace has taken
            graph.erase_node(node)


# -- rewrites --------------------------------------------------------------------------------------


def _mean(graph: fx.Graph, node: fx.Node) -> None:
    """A mean over height and width, or over tokens, is a global pooling; no other is."""
    axes, keep = argument(node, 1, "dim"), argument(node, 2, "keepdim", False)
    image = None if keep else _image_behind(node, axes) or _image_of_places(graph, node, axes)
    if image is not None:
        node.args = (image,)
        _pool_globally(graph, node, F.adaptive_avg_pool2d, keep=False)
        return
    if _is_of_pixels(node, axes):
        _pool_globally(graph, node, F.adaptive_avg_pool2d, keep=bool(keep))
    else:
        _reduce(graph, node)


def _image_of_places(graph: fx.Graph, node: fx.Node, axes: Any) -> fx.Node | None:
    """The image that a mean over all tokens, or over a channels-last image, reads; else None."""
    rank = len(node.all_input_nodes[0].meta.get("shape", ()))
    given = axes if isinstance(axes, tuple | list) else (axes,)
    if (
        rank not in (3, 4)
        or not all(isinstance(axis, int) for axis in given)
        or {axis % rank for axis in given} != set(range(1, rank - 1))
    ):
        return None
    with graph.inserting_before(node):
        return as_image(graph, node.args[0])


def _image_behind(node: fx.Node, axes: Any) -> fx.Node | None:
    """The image whose mean is ``x.mean(3).mean(2)`` or ``x.flatten(2).mean(2)``; else None."""
    row: Any = node.args[0]
    shape = row.meta.get("shape")
    axis = axes[0] if isinstance(axes, tuple | list) and len(axes) == 1 else axes
    if shape is None or len(shape) != 3 or axis not in (2, -1):
        return None
    # what flattening height and width has become
    if row.target is torch.unflatten and row.args[0].target is torch.flatten:
        image = row.args[0].args[0]
    elif row.target is torch.mean and argument(row, 1, "dim") in (
        2,
        3,
        -1,
        -2,
        [2],
        [3],
        [-1],
        [-2],
        (2,),
        (3,),
        (-1,),
        (-2,),
    ):
        image = row.args[0]
    else:
        return None
    before = image.meta.get("shape", ())
    return image if len(before) == 4 and tuple(before[:2]) == tuple(shape[:2]) else None


def _amax(graph: fx.Graph, node: fx.Node) -> None:
    axes, keep = argument(node, 1, "dim"), argument(node, 2, "keepdim", False)
    if _is_of_pixels(node, axes):
        _pool_globally(graph, node, F.adaptive_max_pool2d, keep=bool(keep))
    else:
        _reduce(graph, node)


def _is_of_pixels(node: fx.Node, axes: Any) -> bool:
    """Whether an operator reduces height and width of images, as far as its sizes are known."""
    return (
        isinstance(axes, tuple | list)
        and len(node.all_input_nodes[0].meta.get("shape", (0,) * 4)) == 4
        and {axis % 4 for axis in axes if isinstance(axis, int)} == {2, 3}
    )


def _reduce(_: fx.Graph, node: fx.Node) -> None:
    """The axes of a sum, mean or maximum in a tuple, none negative, and whether they are kept."""
    axes, keep = argument(node, 1, "dim"), bool(argument(node, 2, "keepdim", False))
    shape = node.all_input_nodes[0].meta.get("shape")
    given = axes if isinstance(axes, tuple | list) else (axes,)
    if shape is None or None in given or "dtype" in node.kwargs:
        raise UsageError(
            f"{node.name} ({name_of(node.target)}) reduces a tensor of unknown size, or all of it",
            hint="name the axes, and give an example of the input to edgeq.quantize",
        )
    held = tuple(sorted(axis % len(shape) for axis in given))
    if 0 in held:
        raise UsageError(
            f"{node.name} ({name_of(node.target)}) reduces the batch",
            hint="compute with each sample for itself",
        )
    node.args, node.kwargs = (node.args[0], held, keep), {}


def _by_constant(graph: fx.Graph, node: fx.Node) -> None:
    """A quotient by a constant tensor is the product with its reciprocal."""
    one, other = node.args
    if isinstance(other, fx.Node):
        with graph.inserting_before(node):
            node.args = (one, graph.call_function(torch.reciprocal, (other,)))
        node.target = operator.mul


def _pool_globally(graph: fx.Graph, node: fx.Node, pool: Callable[..., Any], *, keep: bool) -> None:
    if keep:
        node.target, node.args, node.kwargs = pool, (node.args[0], 1), {}
        return
    with graph.inserting_before(node):
        pooled = graph.call_function(pool, (node.args[0], 1))
    node.target, node.args, node.kwargs = torch.flatten, (pooled, 1), {}


_REWRITES: Mapping[Any, Callable[[fx.Graph, fx.Node], None]] = {
    torch.mean: _mean,
    torch.amax: _amax,
    torch.sum: _reduce,
    operator.truediv: _by_constant,
    torch.permute: axes_in_one,
    torch.transpose: two_axes_as_all,
    operator.getitem: slice_and_reshape,
    F.interpolate: resize_by_factors,
    F.upsample: resize_by_factors,
    pick_rows: one_row_each,
    **RESHAPES,
}
