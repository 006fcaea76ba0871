"""What ``torch.fx`` knows of a network: shapes, and the options of calls."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgeq.errors import EdgeqError, UsageError, first_line
from edgeq.network.layer_protocols import ConstrainedNorm
from edgeq.numerics.functions import function_options

if TYPE_CHECKING:
    from collections.abc import Sequence


def traced(module: nn.Module) -> fx.GraphModule:
    """A network as a graph of its operators; one that is a graph already as it is."""
    if isinstance(module, fx.GraphModule):
        return module
    return fx.GraphModule(module, _Tracer().trace(module))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ConstrainedNorm) or super().is_leaf_module(m, module_qualified_name)


def propagate(graph_module: fx.GraphModule, shapes: Sequence[Sequence[int]]) -> None:
    """Find out the shape of every tensor."""
    try:
        with torch.no_grad(), redirect_stderr(StringIO()):  # it prints a traceback of its own
            ShapeProp(graph_module).propagate(*(torch.zeros(1, *shape) for shape in shapes))
    except Exception as error:  # whatever the operators of a network raise
        if isinstance(error.__cause__, EdgeqError):
            raise error.__cause__ from None
        named = " and ".join(str(tuple(shape)) for shape in shapes)
        raise UsageError(
            f"the network cannot read samples of {named}: {first_line(error.__cause__ or error)}",
            hint="give an example as its forward takes it",
        ) from error


def shapes_of(given: Sequence[int] | Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """One shape for each input, of one that is given alone too."""
    sizes = [each for each in given if isinstance(each, int)]
    return (
        [tuple(sizes)]
        if len(sizes) == len(given)
        else [tuple(each) for each in given if not isinstance(each, int)]
    )


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a tensor without the batch."""
    return tuple(node.meta["tensor_meta"].shape[1:])


def unsupported(what: str) -> UsageError:
    """The error for an operation that has no ONNX form."""
    return UsageError(
        f"{what} has no ONNX form in edgeq",
        hint="use layers, BatchNorm, unary elementwise functions, +, *, cat, slices, zero padding "
        "and pooling",
    )


def options_of(name: str, node: fx.Node, target: Any) -> dict[str, Any]:
    """The options of a unary elementwise function; a slope that was trained is a number now."""
    if isinstance(target, nn.PReLU):
        if target.num_parameters != 1:
            raise unsupported(f"{node.target}: PReLU with a slope for each channel")
        return {"negative_slope": target.weight.item()}
    return function_options(name, target, node.args[1:], node.kwargs)
