"""Pooling in the forms that all integer runtimes compute alike, where there is such a form.

Rounding up the number of windows changes nothing where the windows fit the image, and behind a ReLU
is zeros at its end; adaptive pooling that divides the image evenly is ordinary pooling, and one
that makes it larger by whole factors repeats pixels; zeros that an average counts may as well be
put around the image before.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.network.calls import pair
from edgeq.network.pooling import POOL_OPTIONS
from edgeq.numerics.functions import FUNCTIONS, function_name
from edgeq.training.qat_transform.normal_form.upsampling import multiply_axes, pooling_matrix

_AVERAGE = ("AveragePool", F.avg_pool2d)
_MAXIMUM = ("MaxPool", F.max_pool2d)
_POOLS: dict[Any, tuple[str, Any]] = {
    nn.AvgPool2d: _AVERAGE,
    F.avg_pool2d: _AVERAGE,
    nn.MaxPool2d: _MAXIMUM,
    F.max_pool2d: _MAXIMUM,
}
_KEEP_SIGNS = (
    torch.cat,
    F.max_pool2d,
    F.avg_pool2d,
    F.pad,
    operator.getitem,
    operator.add,
    operator.mul,
)
_ADAPTIVE = (nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d)


def pool_evenly(graph_module: fx.GraphModule) -> None:
    """Rewrite the pooling of a graph, in place, as far as the sizes of its tensors are known."""
    for node in list(graph_module.graph.nodes):
        if not node.op.startswith("call_"):
            continue
        module = graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None
        called = node.target if module is None else type(module)
        if called in _ADAPTIVE:
            _adaptive(
                graph_module,
                node,
                node.args[1]
                if module is None and len(node.args) > 1
                else _option(module, node, "output_size"),
            )
        elif called in _POOLS:
            op, function = _POOLS[called]
            positional = dict(zip(POOL_OPTIONS[op], node.args[1:], strict=False))
            given = (
                {name: vars(module)[name] for name in POOL_OPTIONS[op] if name in vars(module)}
                if module is not None
                else positional
            )
            _window(graph_module, node, function, {**given, **node.kwargs})


def _option(module: nn.Module | None, node: fx.Node, name: str) -> Any:
    return node.kwargs[name] if module is None else vars(module)[name]


def _sizes(node: Any) -> tuple[int, int] | None:
    """Height and width of what a pooling reads, where an example has told them."""
    shape = node.args[0].meta.get("shape") if isinstance(node.args[0], fx.Node) else None
    return None if shape is None or len(shape) != 4 else (shape[2], shape[3])


def _adaptive(graph_module: fx.GraphModule, node: fx.Node, wanted: Any) -> None:
    have = _sizes(node)
    sizes = (wanted, wanted) if isinstance(wanted, int) else tuple(wanted)
    if have is None or sizes == (1, 1):
        return
    sizes = tuple(old if new is None else new for new, old in zip(sizes, have, strict=True))
    if sizes == have:
        node.replace_all_uses_with(node.all_input_nodes[0])
    elif not any(old % new for new, old in zip(sizes, have, strict=True)):
        kernel = tuple(old // new for new, old in zip(sizes, have, strict=True))
        node.op, node.target, node.args, node.kwargs = (
            "call_function",
            F.avg_pool2d,
            (node.args[0], kernel),
            {},
        )
    elif not any(new % old for new, old in zip(sizes, have, strict=True)):
        node.op, node.target = "call_function", F.interpolate
        node.args, node.kwargs = (node.args[0],), {"size": sizes, "mode": "nearest"}
    else:
        pairs = zip(have, sizes, strict=True)
        multiply_axes(graph_module, node, [pooling_matrix(old, new) for old, new in pairs])


def _window(
    graph_module: fx.GraphModule, node: fx.Node, function: Any, options: dict[str, Any]
) -> None:
    """Drop ``ceil_mode`` that has no effect; pad with zeros that do no harm or are counted."""
    kernel, padding, have = (
        pair(options["kernel_size"]),
        pair(options.get("padding", 0)),
        _sizes(node),
    )
    source: Any = node.args[0]
    beyond, changed = (0, 0), False
    if options.get("ceil_mode") and have is not None:
        stride = pair(options.get("stride") or kernel)
        beyond = _beyond(have, kernel, stride, padding)
        changed = not any(beyond) or (
            function is F.max_pool2d and not_negative(graph_module, source)
        )
        options["ceil_mode"] = not changed
    counted = (
        function is F.avg_pool2d
        and any(padding)
        and options.get("count_include_pad", True)
        and not options.get("ceil_mode")
    )
    if counted or (changed and any(beyond)):
        ends = [padding[1], padding[1] + beyond[1], padding[0], padding[0] + beyond[0]]
        with graph_module.graph.inserting_before(node):
            source = graph_module.graph.call_function(F.pad, (source, ends))
        options["padding"], changed = 0, True
    if changed:
        node.op, node.target, node.args, node.kwargs = "call_function", function, (source,), options


def _beyond(
    have: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int]:
    """How far the last window of a ``ceil_mode`` pooling overhangs, in height and width."""
    rest = []
    for size, k, step, pad in zip(have, kernel, stride, padding, strict=True):
        windows = -(-(size + 2 * pad - k) // step) + 1
        windows -= (windows - 1) * step >= size + pad  # torch lets no window start behind the image
        rest.append(max((windows - 1) * step + k - size - 2 * pad, 0))
    return rest[0], rest[1]


def not_negative(graph_module: fx.GraphModule, node: Any) -> bool:
    """Whether a tensor cannot be below zero, as behind a ReLU: zeros around it are no max."""
    if not isinstance(node, fx.Node) or not node.op.startswith("call_"):
        return False
    called = (
        graph_module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    )
    name = function_name(called)
    if name is not None:
        return FUNCTIONS[name].not_negative
    keeps = called in _KEEP_SIGNS or isinstance(called, nn.MaxPool2d | nn.AvgPool2d | nn.Dropout)
    numbers = [argument for argument in node.args if isinstance(argument, int | float)]
    positive = called not in (operator.add, operator.mul) or all(number >= 0 for number in numbers)
    return (
        keeps
        and positive
        and all(not_negative(graph_module, source) for source in node.all_input_nodes)
    )
